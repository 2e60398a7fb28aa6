"""The index: features of many images in a folder.

In come images and a model; out come rows of features with the paths they belong to, safe against interruption, that
grow and shrink. docs/formats.md describes the files.
"""
