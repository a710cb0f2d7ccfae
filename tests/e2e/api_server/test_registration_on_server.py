"""A gateway's QPUs on a real API server, with no more rights than the chart gives."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeqpu.common import api
from tests.e2e.api_server.registering import (
    ENDPOINT,
    NAMESPACE,
    cluster_settings,
    conditions,
    find,
    install,
    registering,
    says,
    until,
    write_kubeconfig,
)
from tests.e2e.api_server.server import APIServer
from tests.support.gateway import GatewayProcess

LEASE = ("lease", "kubeqpu-qpu-dev")
SHOW_OWNERS = "--show-managed-fields"
IN = f"--namespace={NAMESPACE}"


@pytest.fixture(scope="module")
def release(server: APIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """The chart with one QPU, `dev`; its pods never run here."""
    install(server, tmp_path_factory.mktemp("values"), {"dev": {"provider": "fake"}})
    yield server
    server.remove_release()


@pytest.fixture(autouse=True)
def _clean(release: APIServer) -> Iterator[None]:
    yield
    release.kubectl("delete", "qpu", "--all")
    release.kubectl("delete", *LEASE, IN, "--ignore-not-found")


def dev(**options: object) -> dict[str, object]:
    return {
        "name": "dev",
        "provider": "fake",
        "slots": 2,
        "options": {"backend": "FakeNairobiV2", **options},
    }


def silence(server: APIServer, name: str) -> None:
    """Says, as the controller does, that a QPU's gateway is silent."""
    condition = {
        "type": "Ready", "status": "Unknown", "reason": "GatewaySilent", "message": "quiet",
        "lastTransitionTime": "2026-11-23T12:00:00Z",
    }  # fmt: skip
    document = {
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": name},
        "status": {"conditions": [condition]},
    }
    options = ("--subresource=status", "--validate=false", "--force-conflicts")
    server.apply(document, manager="controller", options=options)


@pytest.mark.timed
async def test_a_qpu_is_registered_with_owner_lease_and_status(release: APIServer) -> None:
    async with registering(release, [dev(queue={"pending": 3, "service_seconds": 10})]):
        took = await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        assert took < 10
        found = find(release, "qpu", "dev")
        assert found is not None
        assert found["metadata"]["labels"] == {
            "kubeqpu.io/gateway": "default",
            "kubeqpu.io/provider": "fake",
        }
        (owner,) = found["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("ClusterRole", "kubeqpu-qpu-dev")
        assert '"f:unschedulable"' not in json.dumps(find(release, "qpu", "dev", SHOW_OWNERS))
        status = found["status"]
        assert status["gateway"] == ENDPOINT
        assert status["observedGeneration"] == found["metadata"]["generation"]
        assert status["summary"] == {"wait": "30s", "slots": "0/2"}
        lease = find(release, *LEASE, IN)
        assert lease is not None
        assert lease["spec"]["leaseDurationSeconds"] == 40
        assert lease["spec"]["holderIdentity"] == "kubeqpu-gateway-default-0"
        assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
        head, row = release.kubectl("get", "qpus").splitlines()
        shown = dict(zip(head.split(), row.split(), strict=True))
        assert (shown["READY"], shown["QUBITS"], shown["WAIT"]) == ("True", "7", "30s")
        assert (shown["SLOTS"], shown["PROVIDER"]) == ("0/2", "fake")
        assert float(shown["2Q-ERROR"]) > 0
        assert shown["CALIBRATED"].endswith("d")


async def test_its_lease_is_renewed(release: APIServer) -> None:
    async with registering(release, [dev()]):
        await until(lambda: find(release, *LEASE, IN), "the Lease")
        first = find(release, *LEASE, IN)
        assert first is not None

        def renewed() -> bool:
            now = find(release, *LEASE, IN)
            return now is not None and now["spec"]["renewTime"] != first["spec"]["renewTime"]

        await until(renewed, "a renewal", seconds=12)


async def test_it_goes_with_its_cluster_role_and_comes_back_with_it(release: APIServer) -> None:
    role = json.loads(release.kubectl("get", "clusterrole", "kubeqpu-qpu-dev", "--output=json"))
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        release.kubectl("delete", "clusterrole", "kubeqpu-qpu-dev")
        try:
            await until(lambda: find(release, "qpu", "dev") is None, "the QPU to go", 30)
            await until(lambda: find(release, *LEASE, IN) is None, "the Lease to go", 30)
            await asyncio.sleep(2)
            assert find(release, "qpu", "dev") is None
        finally:
            metadata = {key: role["metadata"][key] for key in ("name", "labels", "annotations")}
            release.apply({**role, "metadata": metadata})
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready again", 30)


@pytest.mark.timed
async def test_a_deleted_qpu_comes_back(release: APIServer) -> None:
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        release.kubectl("delete", "qpu", "dev")
        took = await until(lambda: says(release, "dev", "Ready", "True"), "Ready again")
        assert took < 5
        found, lease = find(release, "qpu", "dev"), find(release, *LEASE, IN)
        assert found is not None
        assert lease is not None
        assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]


async def test_what_others_change_in_the_spec_is_put_right(release: APIServer) -> None:
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        release.kubectl("patch", "qpu", "dev", "--type=merge", '--patch={"spec":{"slots":9}}')

        def slots() -> int:
            found = find(release, "qpu", "dev")
            return -1 if found is None else int(found["spec"]["slots"])

        await until(lambda: slots() == 2, "two slots again")


@pytest.mark.timed
async def test_an_outage_and_its_end_are_seen(release: APIServer, tmp_path: Path) -> None:
    control = tmp_path / "control.json"
    async with registering(release, [dev(control_file=str(control))]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        control.write_text(json.dumps({"outage": "the dilution refrigerator warms up"}))
        took = await until(lambda: says(release, "dev", "Ready", "False", "Outage"), "an outage")
        assert took < 5
        assert "refrigerator" in conditions(release, "dev")["Ready"]["message"]
        assert conditions(release, "dev")["Accepting"]["status"] == "False"
        control.write_text("{}")
        assert await until(lambda: says(release, "dev", "Ready", "True"), "Ready again") < 5


async def test_a_stale_calibration_is_seen(release: APIServer, tmp_path: Path) -> None:
    control = tmp_path / "control.json"
    control.write_text(json.dumps({"calibration": {"age_hours": 1}}))
    options = {"control_file": str(control), "max_age_hours": 24}
    async with registering(release, [dev(**options)]):
        await until(lambda: says(release, "dev", "Calibrated", "True"), "Calibrated")
        control.write_text(json.dumps({"calibration": {"age_hours": 90}}))
        await until(lambda: says(release, "dev", "Calibrated", "False"), "a stale calibration", 5)
        assert "4d old" in conditions(release, "dev")["Calibrated"]["message"]
        assert says(release, "dev", "Ready", "True")


async def test_a_cordon_reaches_the_gateway_and_outlives_it(release: APIServer) -> None:
    async with registering(release, [dev()]) as made:
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        patch = '--patch={"spec":{"unschedulable":true}}'
        release.kubectl("patch", "qpu", "dev", "--type=merge", patch)
        await until(lambda: made.qpus["dev"].unschedulable, "the cordon", 2)
        found = find(release, "qpu", "dev")
        assert found is not None
        generation = found["metadata"]["generation"]

        def observed() -> bool:
            now = find(release, "qpu", "dev")
            return now is not None and now["status"]["observedGeneration"] == generation

        await until(observed, "the generation to be observed", 5)
    async with registering(release, [dev()]) as made:
        # Known before a job could start.
        assert made.qpus["dev"].unschedulable
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        patch = '--patch={"spec":{"unschedulable":false}}'
        release.kubectl("patch", "qpu", "dev", "--type=merge", patch)
        await until(lambda: not made.qpus["dev"].unschedulable, "the uncordon", 2)


@pytest.mark.timed
async def test_a_planned_stop_is_told_and_a_restart_is_quick(release: APIServer) -> None:
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        before = conditions(release, "dev")
    stopped = conditions(release, "dev")
    assert (stopped["Ready"]["status"], stopped["Ready"]["reason"]) == ("Unknown", "GatewayStopped")
    lease = find(release, *LEASE, IN)
    assert lease is not None
    assert "holderIdentity" not in lease["spec"]
    async with registering(release, [dev()]):
        took = await until(lambda: says(release, "dev", "Ready", "True"), "Ready again")
        assert took < 5
        after = conditions(release, "dev")
        for kind in ("Accepting", "Calibrated"):
            assert after[kind]["lastTransitionTime"] == before[kind]["lastTransitionTime"]


@pytest.mark.timed
async def test_what_the_controller_said_is_corrected(release: APIServer) -> None:
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        silence(release, "dev")
        took = await until(lambda: says(release, "dev", "Ready", "True"), "Ready again")
        assert took < 5


async def test_a_configuration_that_contradicts_the_object_is_told(release: APIServer) -> None:
    spec = api.QPUSpec(provider="ibm", simulator=False)
    release.apply(api.QPU(metadata=api.ObjectMeta(name="dev"), spec=spec).to_manifest())
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "False", "ConfigurationConflict"), "it")
        message = conditions(release, "dev")["Ready"]["message"]
        assert "provider is ibm and should be fake" in message
        assert "kubectl delete qpu dev" in message
        release.kubectl("delete", "qpu", "dev")
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready", 40)


async def test_the_qpu_of_another_living_gateway_is_left_alone(release: APIServer) -> None:
    other = f"kubeqpu-gateway-other.{NAMESPACE}.svc:7070"
    async with registering(release, [dev()], pod="other-0", endpoint=other):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        async with registering(release, [dev()]) as second:
            await asyncio.sleep(4)
            found, lease = find(release, "qpu", "dev"), find(release, *LEASE, IN)
            assert found is not None
            assert lease is not None
            assert found["status"]["gateway"] == other
            assert lease["spec"]["holderIdentity"] == "other-0"
            assert second.registration is not None
    # Left as planned, it may be taken at once.
    async with registering(release, [dev()]):
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        found = find(release, "qpu", "dev")
        assert found is not None
        assert found["status"]["gateway"] == ENDPOINT


@pytest.mark.timed
async def test_a_killed_gateway_is_back_within_five_seconds(
    release: APIServer, tmp_path: Path
) -> None:
    cluster = cluster_settings(["dev"]).model_dump()
    settings = {"cluster": cluster, "pod_name": "kubeqpu-gateway-default-0"}
    kubeconfig = write_kubeconfig(release, tmp_path / "kubeconfig")
    gateway = GatewayProcess(tmp_path, [dev()], settings, {"KUBECONFIG": str(kubeconfig)})
    try:
        await asyncio.to_thread(gateway.start)
        await until(lambda: says(release, "dev", "Ready", "True"), "Ready")
        before = conditions(release, "dev")
        gateway.kill()
        silence(release, "dev")
        assert says(release, "dev", "Ready", "Unknown")
        began = time.monotonic()
        await asyncio.to_thread(gateway.start)
        took = await until(lambda: says(release, "dev", "Ready", "True"), "Ready again")
        print(f"Ready {time.monotonic() - began:.1f} s after the process was started again")
        assert took < 5
        after = conditions(release, "dev")
        for kind in ("Accepting", "Calibrated"):
            assert after[kind]["lastTransitionTime"] == before[kind]["lastTransitionTime"]
    finally:
        gateway.stop()
    assert says(release, "dev", "Ready", "Unknown", "GatewayStopped")
