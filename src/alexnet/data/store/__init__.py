"""The store: prepared images in one folder.

In come arrays of equal size with labels; out come images, labels, class names, mean image and colour axes, each
checked against its checksum. docs/formats.md describes the files, which numpy alone can read.
"""
