"""The network (paper, section 3).

In comes the name of a dialect; out comes a module whose rows, layer by layer, stand in one table. The model file keeps
it with all that inference needs.
"""
