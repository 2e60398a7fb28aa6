"""The update rule and the loop (paper, section 5).

In come batches, a network and a recipe; out comes a trained network, and checkpoints from which training continues bit
for bit. Dropout (4.2) is in the network, weights of another model (section 6) come by `transfer`.
"""
