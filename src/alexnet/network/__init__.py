"""The network: table, layers, weights, model file."""
