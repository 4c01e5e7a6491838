"""The eyes: what is wrong. Reads only."""
