"""The HTTP interface of [web]; only this package imports FastAPI and uvicorn."""
