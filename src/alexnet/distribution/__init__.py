"""The same training on several processes: towers on devices of their own, shares of every batch, and both at once."""
