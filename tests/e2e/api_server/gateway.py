"""What a gateway writes to the API server, as its ServiceAccount."""

from kubeqpu.common import api
from tests.e2e.api_server.server import APIServer
from tools import chart

NAMESPACE = chart.NAMESPACE
GATEWAY = f"system:serviceaccount:{NAMESPACE}:kubeqpu-gateway-default"


def register(server: APIServer, name: str, provider: str, user: str = GATEWAY) -> None:
    """Registers a QPU as its gateway does, owned by its ClusterRole."""
    owner = f"kubeqpu-qpu-{name}"
    role = server.cluster.kubectl(
        f"--as={user}", "get", "clusterrole", owner, "--output=jsonpath={.metadata.uid}"
    )
    reference = api.OwnerReference(
        api_version="rbac.authorization.k8s.io/v1", kind="ClusterRole", name=owner, uid=role
    )
    found = api.QPU(
        metadata=api.ObjectMeta(name=name, owner_references=(reference,)),
        spec=api.QPUSpec(provider=provider, simulator=True),
    )
    server.apply(found.to_manifest(), user=user, manager="gateway")


def renew_lease(server: APIServer, qpu: str, user: str = GATEWAY) -> None:
    """Renews a QPU's Lease as its gateway does, owned by the QPU."""
    uid = server.get("qpu", qpu)["metadata"]["uid"]
    owner = {"apiVersion": api.API_VERSION, "kind": "QPU", "name": qpu, "uid": uid}
    document = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": api.lease_name(qpu),
            "namespace": NAMESPACE,
            "ownerReferences": [owner],
        },
        "spec": {"holderIdentity": "kubeqpu-gateway-default-0", "leaseDurationSeconds": 40},
    }
    server.apply(document, user=user, manager="gateway")
