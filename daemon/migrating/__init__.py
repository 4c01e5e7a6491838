"""Migrations on the command line's and the API's behalf: requests, views and rehearsals."""
