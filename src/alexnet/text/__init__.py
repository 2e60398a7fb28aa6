"""Words that people read.

In come names, numbers and commands; out comes text: a name in one normal form, with control characters that cannot
reach a terminal, a noun that agrees with its number, a command that can be pasted. Nothing here prints. `progress` is
how work tells how far it is.
"""
