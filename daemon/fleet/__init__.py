"""Several machines with one state: one of them leads and offers work, all of them take it."""
