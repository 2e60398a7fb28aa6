"""The experiments of the paper, as plans that one engine carries out (paper, sections 3, 4, 6 and 7).

In come a store and the name of an experiment; out come trainings, their differences and a figure. Interrupted, it goes
on with what is missing.
"""
