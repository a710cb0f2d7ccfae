"""QPU, QPUClass and QPUQuota on a real API server: what it accepts, refuses, shows and explains."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeqpu.common import api, placement
from tests.cluster.errors import ClusterError
from tests.e2e.api_server.server import APIServer

pytestmark = pytest.mark.usefixtures("definitions")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "resources"
DRY = ("--dry-run=server",)
# kubectl itself would ask for a spec.
STATUS = ("--subresource=status", "--validate=false")


def qpu(name: str = "fez", /, **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": name},
        "spec": {"provider": "ibm", **spec},
    }


def qpu_class(name: str = "fast", **spec: object) -> dict[str, Any]:
    head = {"apiVersion": api.API_VERSION, "kind": "QPUClass", "metadata": {"name": name}}
    return {**head, "spec": spec}


def quota(**spec: object) -> dict[str, Any]:
    metadata = {"name": "week", "namespace": "default"}
    return {"apiVersion": api.API_VERSION, "kind": "QPUQuota", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (qpu("a" * 51), "at most 50 characters"),
        (qpu("a.b"), "must not contain dots"),
        (qpu(slots=0), "greater than or equal to 1"),
        (qpu(slots=1001), "less than or equal to 1000"),
        (qpu(provider=""), "at least 1 chars long"),
        (qpu(resourceName="nvidia.com/gpu"), "Unsupported value"),
        (qpu(resourceName="kubeqpu.io/cpu-simulator"), "must not be a simulator's"),
        (qpu(slotPlacement="Anywhere"), "Unsupported value"),
        (qpu(slotNodeSelector={"a": "b"}), "is for slotPlacement Spread"),
        (qpu(colour="blue"), "unknown field"),
        (
            qpu_class(weights={"wait": 0, "fidelity": 0, "freshness": 0, "utilisation": 0}),
            "must not all be 0",
        ),
        (qpu_class(weights={"wait": -1}), "greater than or equal to 0"),
        (qpu_class(requirements={"minQubits": 0}), "greater than or equal to 1"),
        (qpu_class(requirements={"maxMedianTwoQubitError": 0}), "should be greater than 0"),
        (qpu_class(requirements={"maxEPLG": 1.5}), "less than or equal to 1"),
        (qpu_class(requirements={"maxCalibrationAge": "1 day"}), "should match"),
        (qpu_class(requirements={"maxEstimatedWait": "0s"}), "must be longer than 0s"),
        (qpu_class(requirements={"simulators": "Maybe"}), "Unsupported value"),
        (qpu_class(requirements={"providers": ["ibm", "ibm"]}), "duplicate entries"),
        (
            qpu_class(
                requirements={"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}
            ),
            "values must be given for the operators In and NotIn",
        ),
        (qpu_class(fallback=["fast"]), "must not name the class itself"),
        (qpu_class(fallback=["a", "b", "a"]), "must not name a class twice"),
        (qpu_class(admission="Sometimes"), "Unsupported value"),
        (qpu_class("a" * 64), "at most 63 characters"),
        (quota(hard={}), "must limit at least one of"),
        (quota(hard={"shots": -1}), "greater than or equal to 0"),
        (quota(hard={"shots": 1}, window="30s"), "must be at least 1m"),
        (quota(window="1h"), r"spec.hard: Required value|missing required field \"hard\""),
    ],
)
def test_refuses_what_makes_no_sense(
    server: APIServer, document: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ClusterError, match=reason):
        server.apply(document, options=DRY)


@pytest.mark.parametrize(
    "document",
    [
        qpu("a" * 50),
        qpu(simulator=True, resourceName="kubeqpu.io/gpu-simulator"),
        qpu(slotPlacement="Spread", slotNodeSelector={"a": "b"}, slots=1000),
        qpu_class(),
        qpu_class(fallback=["b", "a"], weights={"wait": 0}, admission="None"),
        qpu_class(requirements={"maxEPLG": 0.01, "maxEstimatedWait": "1h30m"}),
        quota(hard={"qpuSeconds": 0.5}, window="1m"),
        api.class_object(placement.PlacementClass()).to_manifest(),
    ],
)
def test_accepts_what_does(server: APIServer, document: dict[str, Any]) -> None:
    server.apply(document, options=DRY)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_accepts_the_examples(server: APIServer, path: Path) -> None:
    documents = [item for item in yaml.safe_load_all(path.read_text()) if "kind" in item]
    for document in documents:
        if namespace := document["metadata"].get("namespace"):
            server.make_namespace(namespace)
        server.apply(document, options=DRY)
    assert documents or path.stem.startswith("values")


@pytest.mark.parametrize(
    "change",
    [{"provider": "aer"}, {"simulator": True}, {"resourceName": "kubeqpu.io/gpu-simulator"}],
)
def test_what_a_qpu_is_cannot_change(server: APIServer, change: dict[str, object]) -> None:
    server.apply(qpu(slots=2))
    with pytest.raises(ClusterError, match="give another QPU another name"):
        server.apply(qpu(**change))
    server.apply(qpu(slots=3, backendName="ibm_fez"))


def test_a_cordon_survives_its_gateways_updates(server: APIServer) -> None:
    mine = api.QPU(metadata=api.ObjectMeta(name="cordoned"), spec=api.QPUSpec(provider="aer"))
    server.apply(mine.to_manifest(), manager="gateway")
    server.kubectl(
        "patch", "qpu", "cordoned", "--type=merge", '--patch={"spec":{"unschedulable":true}}'
    )
    server.apply(mine.to_manifest(), manager="gateway")
    found = api.QPU.from_manifest(server.get("qpu", "cordoned"))
    assert found.spec.unschedulable
    assert found.spec.slots == 1


def test_conditions_have_an_owner_each(server: APIServer) -> None:
    server.apply(qpu("shared"))

    def write(manager: str, **conditions: str) -> None:
        written = [
            {"type": kind, "status": status, "reason": "Test", "message": manager,
             "lastTransitionTime": "2026-11-23T12:00:00Z"}
            for kind, status in conditions.items()
        ]  # fmt: skip
        document = {**qpu("shared"), "status": {"conditions": written}}
        del document["spec"]
        options = (*STATUS, "--force-conflicts")
        server.apply(document, manager=manager, options=options)

    write("gateway", Ready="True", Accepting="True")
    write("controller", Ready="Unknown")
    plain = api.plain_qpu(api.QPU.from_manifest(server.get("qpu", "shared")))
    assert plain.conditions["Ready"].status == "Unknown"
    assert plain.is_true("Accepting")
    write("gateway", Ready="True", Accepting="True")
    assert api.plain_qpu(api.QPU.from_manifest(server.get("qpu", "shared"))).is_true("Ready")


def test_columns_tell_the_state_at_a_glance(server: APIServer) -> None:
    server.apply(qpu("shown", slots=4))
    status = {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Reachable", "message": "",
             "lastTransitionTime": "2026-11-23T12:00:00Z"}
        ],
        "numQubits": 156,
        "queue": {"gatewayPending": 340, "providerPending": 12, "estimatedWaitSeconds": 754.2},
        "calibration": {
            "id": "a", "time": "2026-11-23T09:00:00Z", "medianOneQubitError": 0.0002,
            "medianTwoQubitError": 0.00423, "medianReadoutError": 0.01,
        },
        "nodes": [{"name": "node-1", "slots": 4, "held": 1}],
    }  # fmt: skip
    parsed = api.QPUStatus.model_validate(status)
    summary = api.summarise(api.QPUSpec(provider="ibm", slots=4), parsed)
    status["summary"] = summary.model_dump(by_alias=True)
    document = {**qpu("shown"), "status": status}
    del document["spec"]
    server.apply(document, options=STATUS)
    header, row = server.kubectl("get", "qpu", "shown").splitlines()
    assert header.split() == [
        "NAME", "READY", "QUBITS", "WAIT", "QUEUE", "2Q-ERROR", "CALIBRATED", "SLOTS",
        "PROVIDER", "AGE",
    ]  # fmt: skip
    cells = row.split()
    assert cells[:6] == ["shown", "True", "156", "13m", "340", "0.00423"]
    assert cells[7:9] == ["1/4", "ibm"]


def test_short_names_and_the_category_find_them(server: APIServer) -> None:
    server.apply(qpu("found"), qpu_class("found", fallback=["other"]), quota(hard={"jobs": 5}))
    assert "found" in server.kubectl("get", "qpuc")
    assert "24h" in server.kubectl("get", "qpuq")
    everything = server.kubectl("get", "kubeqpu", "--all-namespaces")
    assert all(f"{kind}.kubeqpu.io" in everything for kind in ("qpu", "qpuclass", "qpuquota"))


def test_explain_reads_like_a_manual(server: APIServer) -> None:
    text = " ".join(server.kubectl("explain", "qpuclass.spec.requirements").split())
    assert "maxCalibrationAge <string> Oldest acceptable calibration, such as 24h." in text
    assert "enum: Allow, Require, Forbid" in text
    text = " ".join(server.kubectl("explain", "qpu").split())
    assert "A quantum processor or simulator, registered and kept up to date by its" in text
