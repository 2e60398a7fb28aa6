"""Weights, graphs and features in the formats of other programs: read with suspicion, written with proof."""
