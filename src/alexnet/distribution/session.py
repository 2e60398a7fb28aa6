"""From what the user asked for to the processes that do it: a single one, started here, or started by torchrun."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from alexnet.distribution.launch import CONTINUES, start_processes
from alexnet.distribution.mesh import parse_mesh
from alexnet.distribution.processes import DistributedWorld, LaunchEnvironment, choose_device
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError
from alexnet.system import check_device


def start_if_asked(devices: tuple[str, ...], mesh: str | None = None, *, advice: str = CONTINUES) -> bool:
    """Start a process for each of several devices, unless this is one of them; return whether they did the work.

    Args:
        advice: What to do after a fault, a sentence.
    Raises:
        ConfigError: the mesh has another number of processes, or a device is not there.
        DistributionError: one of them failed.
    """
    for name in devices:
        check_device(name)
    if len(devices) < 2 or LaunchEnvironment.read() is not None:
        return False
    parse_mesh(mesh, len(devices))
    start_processes(len(devices), sys.argv[1:], advice=advice)
    return True


@contextmanager
def join_world(
    mesh: str | None, devices: tuple[str, ...], device: str, timeout_seconds: float, *, advice: str = CONTINUES
) -> Iterator[tuple[World, str]]:
    """Meet the other processes, if a launcher started several; yield the world and the device of this process.

    Args:
        mesh: See `mesh.parse_mesh`.
        devices: One for each process of this machine; empty leaves the choice to `device`.
        device: "auto" takes a GPU for each process, where there are some, and "cuda" refuses to go without.
        advice: What to do after a fault, a sentence.
    Raises:
        ConfigError: processes, mesh and devices do not fit together.
        DistributionError: the processes lost each other.
    """
    environment = LaunchEnvironment.read()
    if devices and device != "auto":
        raise ConfigError("--device and --devices are both given. Give --devices alone: one for each process.")
    shape = parse_mesh(mesh, environment.world_size if environment else 1)
    if environment is None or environment.world_size == 1:
        yield SINGLE_PROCESS, devices[0] if devices else device
        return
    own = choose_device(environment, devices, device)
    world = DistributedWorld(shape, environment, torch.device(own), timeout_seconds=timeout_seconds, advice=advice)
    with world.session():
        yield world, own
