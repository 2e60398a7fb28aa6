"""The cost model adds up what a step does, by hand-made numbers."""

import math
from dataclasses import replace

import pytest

from alexnet.distribution.cost import UPDATE_BYTES, Cluster, Link, count_messages_of_sum, count_step, estimate_step
from alexnet.distribution.mesh import Mesh, count_parameters
from alexnet.network.dialects import find_dialect
from alexnet.network.shapes import count_training_operations

SPEC = find_dialect("paper", 1000)
PLAIN = Cluster(
    flops_per_second=1e12,
    memory_bytes_per_second=1e11,
    inside=Link(1e10, 0.0),
    between=Link(1e9, 1e-3),
    processes_per_machine=8,
    hides=0.0,
)


def test_one_process_computes_and_updates() -> None:
    cost = estimate_step(PLAIN, Mesh(), SPEC, 128)
    assert cost.compute == pytest.approx(128 * count_training_operations(SPEC) / 1e12)
    assert cost.update == pytest.approx(UPDATE_BYTES * 60_965_224 / 1e11)
    assert cost.step == cost.compute + cost.update
    assert (cost.activations, cost.gradients, cost.overhead, cost.reading) == (0, 0, 0, 0)


def test_processes_divide_operations_and_send_what_is_counted() -> None:
    alone = estimate_step(PLAIN, Mesh(), SPEC, 128)
    data, tower, dense = (estimate_step(PLAIN, mesh, SPEC, 128) for mesh in (Mesh(2), Mesh(1, 2, 2), Mesh(2, 1, 2)))
    for cost in (data, tower, dense):
        assert cost.compute == pytest.approx(alone.compute / 2)
    assert data.update == alone.update
    assert tower.update == pytest.approx(UPDATE_BYTES * count_parameters(Mesh(1, 2, 2), SPEC) / 1e11)
    assert data.gradients == pytest.approx(count_step(Mesh(2), SPEC, 128)["gradients"] / 1e10)
    assert tower.gradients == 0
    assert tower.activations == pytest.approx(sum(count_step(Mesh(1, 2, 2), SPEC, 128).values()) / 1e10)
    assert dense.gradients + dense.activations < data.gradients / 5


def test_a_last_batch_that_does_not_divide_takes_as_long_as_its_largest_share() -> None:
    assert estimate_step(PLAIN, Mesh(4), SPEC, 9).compute == estimate_step(PLAIN, Mesh(4), SPEC, 12).compute


def test_gradients_hide_behind_the_convolutions_as_far_as_they_can() -> None:
    shown = estimate_step(PLAIN, Mesh(2), SPEC, 128)
    hidden = estimate_step(replace(PLAIN, hides=1.0), Mesh(2), SPEC, 128)
    assert shown.exposed_gradients == shown.gradients
    assert hidden.exposed_gradients == 0  # 24 ms of sending, over 100 ms of backward pass
    slow = estimate_step(replace(PLAIN, hides=1.0, inside=Link(1e8)), Mesh(2), SPEC, 128)
    behind = slow.gradients - slow.exposed_gradients
    assert 0.5 * slow.compute < behind < 2 / 3 * slow.compute  # the backward pass of the convolutions


def test_between_machines_the_slower_link_and_its_latency_count() -> None:
    inside, between = (estimate_step(PLAIN, Mesh(count), SPEC, 8 * count) for count in (8, 16))
    sent = count_step(Mesh(16), SPEC, 128)["gradients"]
    buckets = math.ceil(4 * 60_965_224 / (25 * 2**20))
    assert between.gradients == pytest.approx(sent / 1e9 + buckets * count_messages_of_sum(16) * 1e-3)
    assert inside.gradients < between.gradients / 5
    towers = estimate_step(PLAIN, Mesh(8, 2, 2), SPEC, 128)
    assert towers.activations < 0.1  # neighbours share a machine
    assert [count_messages_of_sum(count) for count in (2, 4, 5, 512)] == [2, 4, 6, 18]


def test_a_step_takes_at_least_what_its_images_take_to_read() -> None:
    cost = estimate_step(replace(PLAIN, images_per_second=10), Mesh(2), SPEC, 128)
    assert cost.step == cost.reading == 6.4


def test_parts_of_a_batch_start_kernels_anew_and_hide_less() -> None:
    cluster = replace(PLAIN, overhead_seconds=0.01, hides=1.0, inside=Link(1e8))
    whole, parts = (estimate_step(cluster, Mesh(2), SPEC, 128, local_batch=most) for most in (None, 16))
    assert (whole.overhead, parts.overhead) == (0.01, pytest.approx(0.04))
    assert parts.exposed_gradients > whole.exposed_gradients
    assert parts.compute == whole.compute
