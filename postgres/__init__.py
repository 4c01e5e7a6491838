"""The hands: the only door to a server."""
