"""Vocabulary shared by every package. Imports nothing else of sereno."""
