"""Names that appear in more than one place: resources, labels, annotations, metrics."""

DOMAIN = "kubeqpu.io"
METRIC_PREFIX = "kubeqpu_"

RESOURCE_QPU = f"{DOMAIN}/qpu"
RESOURCE_GPU_SIMULATOR = f"{DOMAIN}/gpu-simulator"
RESOURCE_CPU_SIMULATOR = f"{DOMAIN}/cpu-simulator"
RESOURCES = (RESOURCE_QPU, RESOURCE_GPU_SIMULATOR, RESOURCE_CPU_SIMULATOR)

# Environment of a container that holds a slot, set by the device plugin.
ENV_GATEWAY = "KUBEQPU_GATEWAY"
ENV_QPU = "KUBEQPU_QPU"
ENV_SLOT = "KUBEQPU_SLOT"

# How callers of a gateway prove who they are: the audience of their tokens, where pods find token
# and authority, and where else they may be.
AUDIENCE = f"{DOMAIN}/gateway"
CREDENTIALS_FOLDER = f"/var/run/secrets/{DOMAIN}"
TOKEN_FILE = f"{CREDENTIALS_FOLDER}/token"
CA_FILE = f"{CREDENTIALS_FOLDER}/ca.crt"
ENV_TOKEN_FILE = "KUBEQPU_TOKEN_FILE"  # noqa: S105 - a name
ENV_CA_FILE = "KUBEQPU_CA_FILE"
METADATA_TENANT = "kubeqpu-tenant"

# What pods ask with, and what the system answers with.
ANNOTATION_CLASS = f"{DOMAIN}/class"
ANNOTATION_MIN_QUBITS = f"{DOMAIN}/min-qubits"
ANNOTATION_CIRCUIT_SHAPE = f"{DOMAIN}/circuit-shape"
ANNOTATION_PLACEMENT = f"{DOMAIN}/placement"
ANNOTATION_ADMISSION_REASON = f"{DOMAIN}/admission-reason"
ANNOTATION_DEFAULT_CLASS = f"{DOMAIN}/is-default-class"
ANNOTATION_WAKE = f"{DOMAIN}/wake"
SCHEDULER = "kubeqpu-scheduler"

# What admission writes on pods, and on the Jobs and JobSets that make them. The gate is one for
# Kueue or for the scheduler; the label finds what waits at either.
LABEL_CLIENT = f"{DOMAIN}/client"
LABEL_MANAGED = f"{DOMAIN}/managed"
LABEL_GATED = f"{DOMAIN}/gated"
ANNOTATION_CA = f"{DOMAIN}/ca"
ANNOTATION_WAITING_FOR = f"{DOMAIN}/waiting-for"
GATE = f"{DOMAIN}/qpu"


def node_label_of_qpu(qpu: str) -> str:
    """Gives the label of nodes that have slots of a QPU."""
    return f"qpu.{DOMAIN}/{qpu}"


def node_label_of_resource(resource: str) -> str:
    """Gives the label of nodes that have slots of a resource, such as `slots.kubeqpu.io/qpu`."""
    return f"slots.{resource}"
