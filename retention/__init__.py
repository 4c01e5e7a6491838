"""The cellar: where old rows and files go."""
