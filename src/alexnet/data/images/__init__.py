"""One image file: bytes in, a square RGB array out (paper, section 2).

In come the bytes of a file of any format; out comes uint8 RGB, upright, its shorter side reduced to the size of the
store and the middle cut out. What is damaged or odd about a file is said, never guessed.
"""
