"""From photographs to a store, once."""
