"""The letter of the week: what the store knows, in words and pictures."""
