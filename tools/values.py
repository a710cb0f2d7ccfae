"""The chart's values: the one source of its schema, its values.yaml and their reference."""

from typing import Literal

from pydantic import Field, JsonValue

from kubeqpu.common import api
from kubeqpu.common.api.qpu import MAX_SLOTS
from tools.values_parts import (
    DNS_LABEL,
    QUANTITY,
    Annotations,
    Component,
    Fragment,
    GatewayName,
    Image,
    Labels,
    QPUName,
    SecretName,
    Section,
    SharedImage,
    Workload,
    make_resources,
)
from tools.values_scheduler import Scheduler

# Fits into the gateway's default memory limit.
_CONFIG: Fragment = {"workers": {"max_workers": 2, "max_inspectors": 2, "memory_bytes": 3 * 2**29}}


class CRDs(Section):
    """The CustomResourceDefinitions."""

    enabled: bool = True
    """Whether they are part of the release."""
    keep: bool = True
    """Whether they, and with them all QPUClasses and QPUQuotas, outlive the release."""


class RBAC(Section):
    """Roles and their bindings."""

    create: bool = True
    """Whether to make those that the components need."""
    user_roles: bool = True
    """Whether to make the ClusterRoles kubeqpu-user and kubeqpu-admin, for RoleBindings of
    yours."""
    public_read: bool = True
    """Whether every authenticated user may read QPUs and QPUClasses."""


class NetworkPolicy(Section):
    """Who reaches the components over the network."""

    enabled: bool = True
    """Whether to restrict it."""
    clients_from: tuple[Fragment, ...] = ()
    """NetworkPolicyPeers that may submit circuits; empty: all, for the gateway authenticates
    callers."""
    metrics_from: tuple[Fragment, ...] = ({"namespaceSelector": {}},)
    """NetworkPolicyPeers that may read metrics; the default is every pod of the cluster."""


class IssuerReference(Section):
    """An issuer of cert-manager."""

    name: str = ""
    """Its name; empty: the chart makes an authority of its own."""
    kind: Literal["Issuer", "ClusterIssuer"] = "ClusterIssuer"
    """Its kind."""
    group: str = "cert-manager.io"
    """Its API group."""


class CertManager(Section):
    """Certificates from cert-manager, which renews them."""

    enabled: bool = False
    """Whether cert-manager issues the certificates. Without it, the chart signs them at install
    and keeps them at upgrades, which `helm template` cannot: use cert-manager with GitOps."""
    issuer: IssuerReference = IssuerReference()
    """Who signs."""


class TLS(Section):
    """Certificates of the gateways."""

    cert_manager: CertManager = CertManager()
    """Certificates from cert-manager, which renews them."""
    validity_days: int = Field(default=3650, ge=1, le=36_500)
    """How long certificates that the chart signs are valid."""


class Persistence(Section):
    """The volume with the queue and results in SQLite."""

    enabled: bool = True
    """Whether to claim a volume. Without, a pod that is replaced forgets its jobs."""
    size: str = Field(default="8Gi", pattern=QUANTITY)
    """Size of the volume; it may grow later if the storage class allows it."""
    storage_class: str | None = None
    """Storage class; null: the cluster's default, "": none."""
    keep: bool = False
    """Whether the claim outlives the release."""


class PostgreSQL(Section):
    """The queue and results in PostgreSQL."""

    url_secret: SecretName = ""
    """Secret in the release's namespace whose key `url` is the database's URL, such as
    postgresql://user:password@host/database; empty: SQLite. Its other keys, such as `ca.crt`, are
    files in /etc/kubeqpu/database. Each gateway has a schema of its own in the database, which
    replaces the volume."""


class QPU(Section):
    """A QPU of a gateway."""

    provider: str = Field(min_length=1, max_length=63)
    """Provider that runs its circuits: aer, fake, or another that the image has."""
    slots: int = Field(default=1, ge=1, le=MAX_SLOTS)
    """How many pods may use it at once."""
    resource_name: api.ResourceName = api.ResourceName.QPU
    """Extended resource that offers its slots."""
    slot_placement: api.SlotPlacement = api.SlotPlacement.GATEWAY
    """Where its slots live."""
    slot_node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes that slots are divided over, for slotPlacement Spread."""
    credentials_secret: SecretName = ""
    """Secret with the provider's credentials, in the release's namespace; each key becomes a
    file."""
    options: Fragment = Field(default_factory=dict)
    """The provider's own options, named as the provider names them."""


class GatewayDefaults(Component):
    """What holds for every gateway that does not say otherwise."""

    image: Image = Image(repository="kubeqpu/qpu-gateway")
    """Its image."""
    replicas: int = Field(default=1, ge=1, le=100)
    """Pods of the gateway; this version allows one."""
    resources: Fragment = Field(
        default_factory=lambda: make_resources(cpu="250m", memory="768Mi", limit="4Gi")
    )
    """Resources of its container. Simulators need memory: see `config.workers`."""
    persistence: Persistence = Persistence()
    """The volume with the queue and results in SQLite."""
    postgresql: PostgreSQL = PostgreSQL()
    """The queue and results in PostgreSQL."""
    config: Fragment = Field(default_factory=lambda: dict(_CONFIG))
    """Further settings of the gateway's configuration file, named as there."""
    service_annotations: Annotations = Field(default_factory=dict)
    """Annotations of its Service."""


class Gateway(GatewayDefaults):
    """One gateway: its QPUs, and whatever it has different from `gatewayDefaults`."""

    qpus: dict[QPUName, QPU] = Field(default_factory=dict)
    """Its QPUs by name. Names are unique in the whole cluster."""


class Controller(Component):
    """The controller: the QPUs' health, labels of nodes, and the default QPUClass."""

    enabled: bool = True
    """Whether to run it. Without it a QPU whose gateway died stays Ready, and nodes have no labels
    that say what slots they have."""
    image: Image = Image(repository="kubeqpu/admission")
    """Its image."""
    replicas: int = Field(default=1, ge=1, le=5)
    """Pods of the controller, of which one acts at a time."""
    resources: Fragment = Field(
        default_factory=lambda: make_resources(cpu="50m", memory="128Mi", limit="256Mi")
    )
    """Resources of its container."""


class Webhooks(Component):
    """The webhooks: they complete pods that ask for slots, and let them wait at gates."""

    enabled: bool = False
    """Whether to run them. Pods then wait at gates that only a controller which knows them
    lifts."""
    image: Image = Image(repository="kubeqpu/admission")
    """Their image."""
    replicas: int = Field(default=2, ge=1, le=10)
    """Pods of the webhooks, all of which answer. While none does, pods that ask for slots are
    refused; others never depend on them."""
    resources: Fragment = Field(
        default_factory=lambda: make_resources(cpu="50m", memory="128Mi", limit="256Mi")
    )
    """Resources of their container."""


class DevicePlugin(Workload):
    """The device plugin, which offers slots to pods on every node."""

    priority_class_name: str = "system-node-critical"
    """Its PriorityClass."""
    enabled: bool = True
    """Whether to run it. Without it no pod can ask for a slot."""
    namespace: str = Field(default="", max_length=63, pattern=f"({DNS_LABEL})|^$")
    """Its namespace, one of its own, for it uses folders of the node, which PodSecurity
    `restricted` forbids; empty: made from the release's name."""
    create_namespace: bool = True
    """Whether to make that namespace, with PodSecurity `privileged`."""
    ca_config_map: SecretName = ""
    """ConfigMap in that namespace whose key `ca.crt` is the authority of the gateways'
    certificates; empty: the chart makes it, which it can only without cert-manager."""
    kubelet_folder: str = Field(default="/var/lib/kubelet", pattern=r"^/[^:,\s]*$", max_length=30)
    """The kubelet's folder on the nodes."""
    image: Image = Image(repository="kubeqpu/deviceplugin")
    """Its image."""
    resources: Fragment = Field(
        default_factory=lambda: make_resources(cpu="10m", memory="48Mi", limit="128Mi")
    )
    """Resources of its container; ten thousand slots on a node take 60Mi."""


class Values(Section):
    """All values of the chart."""

    name_override: str = Field(default="", max_length=30, pattern=f"({DNS_LABEL})|^$")
    """Replaces the chart's name in the names of its objects."""
    fullname_override: str = Field(default="", max_length=30, pattern=f"({DNS_LABEL})|^$")
    """Replaces release and chart in the names of its objects."""
    common_labels: Labels = Field(default_factory=dict)
    """More labels for all objects."""
    image: SharedImage = SharedImage()
    """What all images have in common."""
    crds: CRDs = CRDs()
    """The CustomResourceDefinitions."""
    rbac: RBAC = RBAC()
    """Roles and their bindings."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Who reaches the components over the network."""
    tls: TLS = TLS()
    """Certificates of the gateways."""
    check_secrets: bool = True
    """Whether an install fails when a Secret that it names is missing. A template alone cannot
    tell."""
    gateway_defaults: GatewayDefaults = GatewayDefaults()
    """What holds for every gateway that does not say otherwise."""
    gateways: dict[GatewayName, Gateway] = Field(
        default_factory=lambda: {
            "default": Gateway(
                qpus={
                    "aer": QPU(
                        provider="aer", slots=2, resource_name=api.ResourceName.CPU_SIMULATOR
                    ),
                    "fake-fez": QPU(
                        provider="fake", options={"backend": "FakeFez", "num_qubits": 20}
                    ),
                }
            )
        }
    )
    """Gateways by name. Each has `qpus` by name, and may have any key of `gatewayDefaults`. To
    leave out one of these, set it to null."""
    controller: Controller = Controller()
    """The controller: the QPUs' health, labels of nodes, and the default QPUClass."""
    scheduler: Scheduler = Scheduler()
    """The scheduler `kubeqpu-scheduler`: a stock kube-scheduler that asks the extender."""
    webhooks: Webhooks = Webhooks()
    """The webhooks: they complete pods that ask for slots, and let them wait at gates."""
    device_plugin: DevicePlugin = DevicePlugin()
    """The device plugin, which offers slots to pods on every node."""
    global_: dict[str, JsonValue] = Field(default_factory=dict, alias="global")
    """Values that charts share, when this one is a part of another."""
