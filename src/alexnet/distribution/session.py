"""From what the user asked for to the team that does it: alone, started here, or started by torchrun."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from alexnet.distribution.launch import CONTINUES, start_processes
from alexnet.distribution.mesh import parse_mesh
from alexnet.distribution.processes import Place, ProcessTeam, choose_device
from alexnet.distribution.team import ALONE, Team
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
    if len(devices) < 2 or Place.from_environment() is not None:
        return False
    parse_mesh(mesh, len(devices))
    start_processes(len(devices), sys.argv[1:], advice=advice)
    return True


@contextmanager
def join_team(
    mesh: str | None, devices: tuple[str, ...], device: str, timeout_seconds: float, *, advice: str = CONTINUES
) -> Iterator[tuple[Team, str]]:
    """Meet the other processes, if a launcher started several; yield the team and the device of this process.

    Args:
        mesh: See `mesh.parse_mesh`.
        devices: One for each process of this machine; empty leaves the choice to `device`.
        device: "auto" takes a GPU for each process, where there are some.
        advice: What to do after a fault, a sentence.
    Raises:
        ConfigError: processes, mesh and devices do not fit together.
        DistributionError: the processes lost each other.
    """
    place = Place.from_environment()
    if devices and device != "auto":
        raise ConfigError("--device and --devices are both given. Give --devices alone: one for each process.")
    shape = parse_mesh(mesh, place.world if place else 1)
    if place is None or place.world == 1:
        yield ALONE, devices[0] if devices else device
        return
    own = choose_device(place, devices) if device == "auto" else device
    team = ProcessTeam(shape, place, torch.device(own), timeout_seconds=timeout_seconds, advice=advice)
    with team.session():
        yield team, own
