"""Work that outgrows a machine, cut into parts that do not depend on each other.

In come parts, and a function that does one; out come their results, in the order of the parts. Who does them is this
process or Ray. Training one network on several devices is another matter: see `distribution`.
"""
