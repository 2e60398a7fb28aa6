"""The update rule, its schedule, checkpoints and the loop."""
