"""Images that the network finds alike (paper, section 6.1).

In come images or queries; out come the nearest by Euclidean distance between features, or by Hamming distance between
codes. `index` keeps the features of a collection.
"""
