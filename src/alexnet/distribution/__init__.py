"""One network on several devices (paper, section 3.2).

In comes a network and a mesh; out come its parts, one for each process, and the exchanges between them. Here are also
the processes that share images among them, and the model of what all this costs.
"""
