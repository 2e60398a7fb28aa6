"""Order, views and batches: what the network is shown, and when."""
