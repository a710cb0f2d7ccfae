"""Clusters for the tests of the launcher itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.cluster import teardown
from tests.cluster.cluster import Cluster
from tests.cluster.requirements import missing
from tests.cluster.spec import ClusterSpec
from tests.cluster.tests.helpers import NODES, MakeCluster, bring_up


def need(spec: ClusterSpec) -> None:
    """Skip where a cluster cannot run, but never on a machine that must be able to."""
    if found := missing(spec):
        reason = " ".join(str(one) for one in found)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def make_cluster() -> Iterator[MakeCluster]:
    """Makes clusters, and takes down every one it made."""
    made: list[Cluster] = []

    def make(spec: ClusterSpec) -> Cluster:
        need(spec)
        cluster = Cluster(spec.name)
        made.append(cluster)
        cluster.down()  # what an interrupted run left
        return cluster

    yield make
    for cluster in made:
        cluster.down()


@pytest.fixture(scope="module")
def nodes_cluster() -> Iterator[Cluster]:
    """A cluster of two nodes with DNS, shared by the tests of a module."""
    need(NODES)
    cluster = Cluster(NODES.name)
    cluster.down()
    bring_up(cluster, NODES)
    octet = cluster.state.octet
    yield cluster
    cluster.down()
    assert octet is not None
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and teardown.leftovers(cluster.layout, octet):
        time.sleep(0.1)
    assert teardown.leftovers(cluster.layout, octet) == []
