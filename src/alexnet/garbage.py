"""How often Python looks for garbage in a process that imports PyTorch."""

import atexit
import gc


def collect_seldom() -> None:
    """Have Python look through its objects less often, and not once more when the process ends.

    PyTorch and Numba make a million objects when they are imported, and keep them all. Looking for garbage among them
    took a quarter of the time of predicting one picture.
    """
    gc.set_threshold(5_000)
    atexit.register(gc.freeze)
