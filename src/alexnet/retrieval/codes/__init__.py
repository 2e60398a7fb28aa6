"""Short binary codes of features (paper, section 6.1, last sentence).

In come features; out come bits by an autoencoder or by simpler methods, the nearest by Hamming distance, and how well
they agree with exact search.
"""
