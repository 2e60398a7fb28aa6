"""Files on the disk, whatever they hold.

In come bytes, documents and tensors; out come files that appear whole or not at all, with their checksums, and the
kind of a file that somebody hands over. Nothing here knows of images or networks.
"""
