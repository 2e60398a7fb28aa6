"""Testing and using a trained network."""
