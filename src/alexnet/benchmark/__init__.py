"""Measurements of ours beside the stock PyTorch equivalent, alternating in one run, with this machine's ceiling."""
