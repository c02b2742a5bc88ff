"""No rows of its own."""
