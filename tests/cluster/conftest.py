"""A cluster of several nodes on this machine, each a process of Ray's with a core of its own."""

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def nodes() -> Iterator[Any]:
    """Two nodes, and the one of the command, which does no parts. This process has joined them."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    from alexnet.cluster.nodes import QUIET, join_cluster

    os.environ |= QUIET
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 2**27}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=2**27)
    try:
        with join_cluster(cluster.address):
            yield cluster
    finally:
        cluster.shutdown()
