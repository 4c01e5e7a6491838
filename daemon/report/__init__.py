"""The weekly health report: gathered from the store, rendered, published."""
