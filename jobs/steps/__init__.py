"""Steps planned by jobs: statements, index rebuilds, measurements, checks."""
