"""The cleanup lifts gates that nobody would lift any more."""

import pytest

from kubeqpu.admission.cleanup import lift_gates
from kubeqpu.admission.errors import CleanupError
from kubeqpu.common import names
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from tests.support.object_server import ObjectServer
from tests.unit.admission.gating import (
    LABELS,
    PLURALS,
    gated_job,
    gated_job_set,
    gated_pod,
    is_gated,
)
from tests.unit.admission.webhook_objects import GATED_BY, pod


def put_all(server: ObjectServer, pods: int) -> None:
    for number in range(pods):
        server.put("pods", gated_pod(f"pod-{number}"))
    server.put("jobs", gated_job("job"))
    server.put("jobsets", gated_job_set("set"))


def gated(server: ObjectServer) -> set[str]:
    return {name for (_, name), found in server.objects.items() if is_gated(found)}


async def test_all_our_gates_go_and_others_stay() -> None:
    server = ObjectServer()
    put_all(server, pods=25)
    server.put("pods", gated_pod("others-too", "example.com/other"))
    server.put("jobs", gated_job("both", f"{names.GATE},example.com/other"))
    async with server.serve() as api_client:
        objects = ObjectsAPI(api_client, "test")
        assert await lift_gates(objects) == 29
        assert await lift_gates(objects) == 0
    assert gated(server) == set()
    assert not any(
        LABELS.items() <= found["metadata"].get("labels", {}).items()
        for found in server.objects.values()
    )
    other = server.objects["pods", "others-too"]
    assert other["spec"]["schedulingGates"] == [{"name": "example.com/other"}]
    both = server.objects["jobs", "both"]
    assert both["metadata"]["annotations"][GATED_BY] == "example.com/other"


async def test_what_has_no_gate_is_not_written() -> None:
    server = ObjectServer()
    server.put("pods", pod(name="plain", namespace="lab"))
    async with server.serve() as api_client:
        assert await lift_gates(ObjectsAPI(api_client, "test")) == 0
    assert server.count("PATCH", "") == 0


async def test_without_job_sets_the_others_are_let_go() -> None:
    server = ObjectServer()
    put_all(server, pods=1)
    server.refuse = lambda method, path: 404 if "jobsets" in path else None
    async with server.serve() as api_client:
        assert await lift_gates(ObjectsAPI(api_client, "test")) == 2
    assert gated(server) == {"set"}


async def test_what_changes_meanwhile_is_let_go_as_it_is_then() -> None:
    server = ObjectServer()
    put_all(server, pods=1)
    changes = iter(range(1))

    def change(method: str, path: str) -> None:
        if method == "PATCH" and next(changes, None) is not None:
            found = server.objects["pods", "pod-0"]
            server.put("pods", {**found, "spec": {**found["spec"], "priority": 7}})

    server.refuse = change
    async with server.serve() as api_client:
        assert await lift_gates(ObjectsAPI(api_client, "test")) == 3
    assert gated(server) == set()
    assert server.objects["pods", "pod-0"]["spec"]["priority"] == 7


async def test_an_object_that_refuses_is_told_after_the_others() -> None:
    server = ObjectServer()
    put_all(server, pods=25)
    server.refuse = lambda method, path: (
        403 if method == "PATCH" and path.endswith("/pod-0") else None
    )
    async with server.serve() as api_client:
        with pytest.raises(APIServerError, match="pods/pod-0"):
            await lift_gates(ObjectsAPI(api_client, "test"))
    assert gated(server) == {"pod-0"}


async def test_gates_that_come_back_are_told_with_where_to_look() -> None:
    server = ObjectServer()
    put_all(server, pods=1)
    more = iter(range(100))

    def gate_one_more(method: str, path: str) -> None:
        if method == "PATCH":
            server.put("pods", gated_pod(f"late-{next(more)}"))

    server.refuse = gate_one_more
    async with server.serve() as api_client:
        with pytest.raises(CleanupError, match=r"again.*mutatingwebhookconfigurations"):
            await lift_gates(ObjectsAPI(api_client, "test"))
    assert set(PLURALS.values()) == {plural for plural, _ in server.objects}
