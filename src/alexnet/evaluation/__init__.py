"""Testing and using a trained network (paper, sections 4.1 and 6).

In come a model and images; out come probabilities averaged over views and over models, and the errors that they make.
Nothing here trains.
"""
