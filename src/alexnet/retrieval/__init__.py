"""Retrieval: an index of features, exact and binary search in it, and near-identical images (paper, section 6.1)."""
