"""Facts read from the system catalogs and statistics views."""
