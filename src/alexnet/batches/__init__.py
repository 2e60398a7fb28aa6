"""What the network is shown, and when (paper, sections 4.1 and 5).

In come the images of a store; out come batches of inputs: in the order of the epoch, cropped, mirrored, with colour
noise, less the mean. Every choice is a pure function of seed, epoch and image.
"""
