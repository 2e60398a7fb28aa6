"""A training as a folder.

In come a store and a recipe; out comes a run folder: recipe, environment, metrics, checkpoints, model and report.
`folder` names every file in it; `requirements` says what store and recipe ask for; `train` begins it or continues it.
"""
