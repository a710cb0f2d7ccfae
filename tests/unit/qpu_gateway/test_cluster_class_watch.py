"""The gateway's view of the cluster's classes."""

from collections.abc import Mapping

from kubeqpu.common import api
from kubeqpu.common.placement import PlacementClass
from kubeqpu.qpu_gateway.cluster.classes import ClassWatch
from tests.support.object_server import Object, ObjectServer
from tests.support.registration import until


def qpu_class(name: str, default: bool = False, created: str = "2026-01-01T00:00:00Z") -> Object:
    annotations: Mapping[str, str] = {"kubeqpu.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": api.API_VERSION,
        "kind": "QPUClass",
        "metadata": {"name": name, "annotations": annotations, "creationTimestamp": created},
        "spec": {"requirements": {"minQubits": 12}},
    }


async def test_classes_are_those_of_the_cluster_and_of_the_configuration() -> None:
    server = ObjectServer()
    server.put("qpuclasses", qpu_class("wide"))
    async with server.serve() as api_client:
        classes = ClassWatch(api_client, {"own": PlacementClass("own")})
        assert set(classes) == {"standard", "own"}
        assert classes.default_name == "standard"
        await classes.start()
        await until(lambda: "wide" in classes)
        assert classes["wide"].requirements.min_qubits == 12
        server.put("qpuclasses", qpu_class("own", default=True))
        await until(lambda: classes["own"].requirements.min_qubits == 12)
        assert classes.default_name == "own"
        server.put("qpuclasses", qpu_class("wide", True, "2026-02-01T00:00:00Z"))
        await until(lambda: classes.default_name == "wide")
        odd = qpu_class("wide")
        odd["spec"] = {"requirements": {"minQubits": "many"}}
        server.put("qpuclasses", odd)
        server.delete("qpuclasses", "own")
        await until(lambda: classes["own"].requirements.min_qubits == 1)
        # What cannot be read stays as it was.
        assert classes["wide"].requirements.min_qubits == 12
        server.delete("qpuclasses", "wide")
        await until(lambda: set(classes) == {"standard", "own"})
        assert classes.default_name == "standard"
        await classes.stop()
