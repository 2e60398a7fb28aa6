"""Where images come from.

In comes a path: folders, lists, archives, tables, or a data set as it is distributed. Out come labelled paths by
split, and the bytes of each when asked; nothing is decoded here. `kinds` is the table of them all.
"""
