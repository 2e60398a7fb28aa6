"""Measurements of ours beside the stock PyTorch equivalent, in turns in one run, with this machine's ceilings."""
