"""The embedded data set: pictures that the package draws itself.

In comes a seed; out come pictures of ten things as files in class folders, the same on every machine. `objects` holds
the things, `painting` how they look.
"""
