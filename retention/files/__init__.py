"""Log files deleted or compressed by age and size."""
