"""Meshes that fit, meshes that do not, who holds what, and what has to be sent."""

import pytest

from alexnet.distribution.cost import count_step
from alexnet.distribution.mesh import Mesh, check_mesh, count_parameters, parse_mesh, shard_parameters
from alexnet.errors import ConfigError
from alexnet.network.dialects import find_dialect

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "processes", "mesh"),
    [
        (None, 1, Mesh(1, 1, 1)),
        (None, 4, Mesh(4, 1, 1)),
        ("tower=2", 2, Mesh(1, 2, 2)),
        ("tower=2", 8, Mesh(4, 2, 2)),
        ("data=2,tower=2", 4, Mesh(2, 2, 2)),
        (" data=4, dense=4", 4, Mesh(4, 1, 4)),
    ],
)
def test_a_mesh_is_read_and_what_is_missing_follows(text: str | None, processes: int, mesh: Mesh) -> None:
    assert parse_mesh(text, processes) == mesh
    assert parse_mesh(str(mesh), processes) == mesh


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data=x", "mesh 'data=x': 'data=x' is not a size of data, tower or dense. Write it as --mesh data=2,tower=2 or --mesh data=4,dense=4."),
        ("rows=2", "mesh 'rows=2': 'rows=2' is not a size of data, tower or dense. Write it as --mesh data=2,tower=2 or --mesh data=4,dense=4."),
        ("data=0", "mesh 'data=0': 'data=0' is not a size of data, tower or dense. Write it as --mesh data=2,tower=2 or --mesh data=4,dense=4."),
        ("data=2,data=2", "mesh 'data=2,data=2' gives data twice. Write it as --mesh data=2,tower=2 or --mesh data=4,dense=4."),
        ("data=1,dense=3", "mesh data=1,dense=3: data x tower is 1, and there are 3 processes. dense divides these same processes once more and does not count: write data=3,dense=3."),
        ("data=2,tower=2", "mesh data=2,tower=2 needs 2 x 2 = 4 processes, and there are 3. Start 4 (torchrun --nproc-per-node, or as many --devices), or choose sizes whose product is 3."),
    ],
)  # fmt: skip
def test_what_is_no_mesh_of_these_processes_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        parse_mesh(text, 3)
    assert str(problem.value) == message


@pytest.mark.parametrize(
    ("mesh", "dialect", "message"),
    [
        (Mesh(1, 2, 2), "one-tower-2014", "mesh data=1,tower=2: dialect one-tower-2014 has one tower; accepted for tower is 1."),
        (Mesh(1, 4, 4), "paper", "mesh data=1,tower=4: dialect paper has 2 towers; accepted for tower is 1 or 2."),
        (Mesh(4, 2, 4), "paper", "mesh data=4,tower=2,dense=4: dense layers are divided among 2 (as the towers) or among all 8 processes. Give dense=8, or leave it out."),
        (Mesh(3, 1, 3), "paper", "mesh data=3,tower=1,dense=3: the 4096 units of layer fc6 do not divide among 3 processes. Choose a divisor of 4096."),
    ],
)  # fmt: skip
def test_a_mesh_that_does_not_fit_the_network_is_refused(mesh: Mesh, dialect: str, message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        check_mesh(mesh, find_dialect(dialect, 1000))
    assert str(problem.value) == message


def test_each_tower_holds_half_of_the_parameters() -> None:
    spec = find_dialect("source-2012", 1000)
    whole, classes = 60_965_224, 1000
    assert count_parameters(Mesh(), spec) == whole
    assert count_parameters(Mesh(1, 2, 2), spec) == (whole - classes) // 2 + classes
    assert shard_parameters(Mesh(8), spec) == {}


def test_two_towers_send_what_the_facts_say() -> None:
    """Of the network of 2012, for 128 images in float32: conv3 10.6 MiB, fc6 2.25 MiB, fc7 1 MiB, each way.

    The classifier's weights are divided here; there, the one GPU that had them was sent 1 MiB of units.
    """
    sent = count_step(Mesh(1, 2, 2), find_dialect("source-2012", 1000), 128)
    assert sent == {
        "conv3 forward": 128 * 21_632 * 4,
        "conv3 backward": 128 * 21_632 * 4,
        "fc6 forward": 128 * 4608 * 4,
        "fc6 backward": 128 * 4608 * 4,
        "fc7 forward": 128 * 2048 * 4,
        "fc7 backward": 128 * 2048 * 4,
        "fc8 forward": 128 * 1000 * 4,
    }
    assert round(sent["conv3 forward"] / MIB, 1) == 10.6
    assert sent["fc6 forward"] / MIB == 2.25
    assert sent["fc7 forward"] / MIB == 1


def test_divided_dense_layers_send_no_gradients_of_their_58_million_weights() -> None:
    spec = find_dialect("paper", 1000)
    plain = count_step(Mesh(8), spec, 1024)
    weird = count_step(Mesh(8, 1, 8), spec, 1024)
    assert plain == {"gradients": round(2 * 7 / 8 * 60_965_224 * 4)}
    assert weird["gradients"] == round(2 * 7 / 8 * (2_334_080 + 1000) * 4)
    assert sum(weird.values()) < sum(plain.values())
