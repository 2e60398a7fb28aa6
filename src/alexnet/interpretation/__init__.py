"""Figures and reports: what the network learned (paper, section 6.1, figures 1, 3 and 4).

In come runs, models and images; out come pictures with the numbers behind them, and pages.
"""
