"""Steps that jobs plan: statements, index rebuilds, measurements, checks."""
