"""Protection against running twice, on the wrong server or with too many rights."""
