"""The voice: who is told, how, and until it is known to have arrived."""
