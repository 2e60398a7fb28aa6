"""The page of this machine."""

from typing import Any

from alexnet.description.page import Description, Facts, Table


def describe_system() -> Description:
    """Return what this machine is and what is chosen on it."""
    from alexnet import kernels, system

    values: dict[str, Any] = dict(system.describe_system())
    values["threads"] = system.set_threads()
    values["compute"] = system.choose_compute().explanation
    values["allocator"] = system.tune_allocator()
    chosen = kernels.report()
    return Description(
        {**values, "kernels": [list(row) for row in chosen]},
        [
            Facts([(name, str(value)) for name, value in values.items()], "This machine"),
            Table(["kernel", "device", "version", "reason"], [list(map(str, row)) for row in chosen], "Kernels"),
        ],
    )
