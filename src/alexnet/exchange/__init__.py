"""Weights, graphs and features in the formats of other programs.

In come files of Caffe and PyTorch, read with suspicion and never executed; out come ONNX, torchvision's weights and
tables of features. Each file is compared with the model before it is kept.
"""
