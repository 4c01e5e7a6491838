"""Archive files: written, verified, restored, expired."""
