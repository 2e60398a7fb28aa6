"""From a source to a store, in one pass that can be interrupted (paper, section 2).

In comes a source; out comes a store with the mean image and the principal components of section 4.1. Images are
decoded on all cores, written in parts, and counted in the same pass.
"""
