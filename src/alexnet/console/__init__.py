"""What people see in a terminal.

In come facts, rows, progress and problems; out come lines: with colours and bars on a terminal, plain elsewhere.
`pace` says how much time is left.
"""
