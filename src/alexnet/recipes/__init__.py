"""How a network is trained: named values.

In come the name of a recipe and changes to its fields; out comes a frozen, validated recipe. `named` holds them, with
the sections of the paper or the files of the 2012 source that they follow; `fields` says what each value means.
"""
