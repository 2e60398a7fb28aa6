"""What the frames of a clip tell together: small heads on the features of section 6.1, over time.

In come an image model, which stays as it is, and the frames of clips with a class for each clip; out comes a model of
clips. The paper's last paragraph asks for it: "the temporal structure provides very helpful information".
"""
