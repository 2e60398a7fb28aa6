"""Training steps of two processes over a link of a stated speed, beside the cost model with and without hiding.

Each process runs in a network namespace of its own; the link between them is a pair of virtual devices slowed by a
token bucket. Unlike the loopback device such a link is slow without keeping a processor busy, so that it shows how much
of the sending the backward pass hides. Needs Linux, root and iproute2.

    sudo .venv/bin/python benchmarks/limited_link.py --mbit 10000 2500 1000 --out benchmarks/records
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from alexnet.benchmark.measure import Contender, Crew, Spread
from alexnet.benchmark.scaling import calibrate, measure_link, threads_of
from alexnet.benchmark.suite import write_record
from alexnet.distribution.cost import estimate_step
from alexnet.distribution.launch import launch_variables
from alexnet.distribution.mesh import parse_mesh
from alexnet.network.dialects import find_dialect
from alexnet.system import has_bfloat16

MESHES = ("data=2", "tower=2", "data=2,dense=2")
ADDRESSES = ("10.213.7.1", "10.213.7.2")
DEVICE = "pair0"
BURST_BYTES = 256 * 1024


def ip(*arguments: str, within: str | None = None, command: str = "ip") -> None:
    """Call iproute2, in a namespace if one is named."""
    subprocess.run([*(["ip", "netns", "exec", within] if within else []), command, *arguments], check=True)


@contextmanager
def limited_link(mbit: float, prefix: str = "alexnet") -> Iterator[tuple[str, str]]:
    """Make two namespaces joined by a link of this speed, yield their names, and take them away again."""
    names = (f"{prefix}-0-{os.getpid()}", f"{prefix}-1-{os.getpid()}")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", DEVICE, "netns", names[0], "type", "veth", "peer", "name", DEVICE, "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("link", "set", "lo", "up", within=name)
            ip("addr", "add", f"{address}/24", "dev", DEVICE, within=name)
            ip("link", "set", DEVICE, "up", within=name)
            bucket = ("qdisc", "add", "dev", DEVICE, "root", "tbf", "rate", f"{mbit}mbit")
            ip(*bucket, "burst", str(BURST_BYTES), "latency", "50ms", within=name, command="tc")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def crew_over(names: Sequence[str], mesh: str, name: str, **options: object) -> Crew:
    """Return a process in each namespace; the first keeps the store where they meet."""
    members = []
    for rank, namespace in enumerate(names):
        environment = launch_variables(rank, 2, 29400, ADDRESSES[0]) | {
            "TORCHELASTIC_USE_AGENT_STORE": "False",
            "GLOO_SOCKET_IFNAME": DEVICE,
        }
        member = Contender(name, mesh=mesh, threads=threads_of(2), **options)
        members.append(member.within(environment, ("ip", "netns", "exec", namespace)))
    return Crew(members)


def main() -> None:
    """Measure every mesh at every speed, print a table and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", nargs="+", type=float, default=[10000.0, 2500.0, 1000.0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if os.name != "posix" or os.geteuid() != 0:
        sys.exit("limited_link: network namespaces need root; call it with sudo.")
    precision = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    spec, value_bytes = find_dialect("paper", 1000), 2 if precision == "bfloat16" else 4
    cluster = calibrate(2, options.batch, precision, options.rounds)
    lines: list[dict[str, Any]] = []
    print("Mbit/s   mesh            step s   nothing hidden   hidden as far as can be", flush=True)
    for mbit in options.mbit:
        with limited_link(mbit) as names:
            link = measure_link(partial(crew_over, names, "data=2"), 2, options.rounds)
            for mesh in MESHES:
                with crew_over(names, mesh, "shared-step", batch=options.batch, dtype=precision) as crew:
                    seconds = [crew.seconds() for _ in range(options.rounds)]
                bare, hiding = (
                    estimate_step(
                        replace(cluster, inside=link, hides=hides),
                        parse_mesh(mesh, 2),
                        spec,
                        options.batch,
                        value_bytes=value_bytes,
                    ).step
                    for hides in (0.0, 1.0)
                )
                middle = Spread.of(seconds).median
                print(f"{mbit:6.0f}   {mesh:14s}  {middle:6.2f}   {bare:14.2f}   {hiding:23.2f}", flush=True)
                line = {"mbit": mbit, "link_bytes_per_second": link.bytes_per_second, "mesh": mesh}
                lines.append(line | {"step_s": middle, "samples": seconds, "not_hidden_s": bare, "hidden_s": hiding})
    if options.out:
        command = f"python benchmarks/limited_link.py --batch {options.batch} --rounds {options.rounds}"
        path = write_record(options.out, "limited-link", lines, command)
        print(f"Record: {path}")


if __name__ == "__main__":
    main()
