"""What the device plugin is told by its environment: the only place that reads it.

Reads the environment directly: pydantic would take ten megabytes on every node.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeqpu.common import names
from kubeqpu.deviceplugin.errors import ConfigurationError
from kubeqpu.deviceplugin.holdings import TRUST_SECONDS
from kubeqpu.deviceplugin.verdicts import FORGET_SECONDS, GRACE_SECONDS

_LOG_LEVELS = ("debug", "info", "warning", "error")
# Length of the longest path of a unix socket, less that of our sockets' names.
_MAX_FOLDER_LENGTH = 107 - 50


@dataclass(frozen=True)
class Settings:
    """Settings of the device plugin; each is the variable `KUBEQPU_<NAME>`.

    Attributes:
        node_name: Node that it runs on; it has to be the one in its token.
        gateways: host:port under which the addresses of all gateways' pods are found.
        tls_name: Name that the gateways' certificates are checked for; by default one that a
            certificate for `*.<host>` covers.
        token_file: File with a ServiceAccount token for the gateways.
        ca_file: File with the authority that signs the gateways' certificates.
        plugin_folder: Folder of the kubelet's socket for device plugins.
        pod_resources_socket: The kubelet's socket for pod resources.
        log_level: Least severe level to log.
        health_address: Where health is served.
        health_port: Port of /healthz and /readyz; 0 lets the system choose.
        metrics_address: Where metrics are served.
        metrics_port: Port of /metrics; 0 lets the system choose.
        grace_seconds: How long free slots stay healthy without their gateway.
        forget_seconds: After how long without its gateway a slot may be offered by another.
        keepalive_seconds: How often a gateway is told the holders at least.
        silence_seconds: After how long without a word a stream counts as lost.
        resolve_seconds: How often the gateways' addresses are looked up.
        trust_seconds: How long a kubelet has to answer before it is believed that a pod ended.
    """

    node_name: str
    gateways: str
    tls_name: str
    token_file: Path = Path(names.TOKEN_FILE)
    ca_file: Path = Path(names.CA_FILE)
    plugin_folder: Path = Path("/var/lib/kubelet/device-plugins")
    pod_resources_socket: Path = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    log_level: str = "info"
    health_address: str = "0.0.0.0"  # noqa: S104 - the kubelet probes the pod's own address
    health_port: int = 8081
    metrics_address: str = "0.0.0.0"  # noqa: S104 - Prometheus scrapes the pod's own address
    metrics_port: int = 9464
    grace_seconds: float = GRACE_SECONDS
    forget_seconds: float = FORGET_SECONDS
    keepalive_seconds: float = 10.0
    silence_seconds: float = 30.0
    resolve_seconds: float = 3.0
    trust_seconds: float = TRUST_SECONDS

    @property
    def kubelet_socket(self) -> Path:
        """The kubelet's socket for registration."""
        return self.plugin_folder / "kubelet.sock"

    @property
    def discovery(self) -> tuple[str, int]:
        """Host and port of the gateways."""
        host, _, port = self.gateways.rpartition(":")
        return host, int(port)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings from the environment; empty variables count as unset.

    Args:
        environment: Variables; None takes those of the process.

    Raises:
        ConfigurationError: If a setting is missing or wrong.
    """
    source = _Source(os.environ if environment is None else environment)
    gateways = source.text("GATEWAYS")
    host, _, port = gateways.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigurationError(
            f"KUBEQPU_GATEWAYS is {gateways!r}; expected host:port of the Service of all "
            "gateways' pods, such as kubeqpu-gateways.quantum.svc:7070."
        )
    settings = Settings(
        node_name=source.text("NODE_NAME"),
        gateways=gateways,
        tls_name=source.text("TLS_NAME", f"device-plugin.{host}"),
        token_file=source.path("TOKEN_FILE", Settings.token_file),
        ca_file=source.path("CA_FILE", Settings.ca_file),
        plugin_folder=source.path("PLUGIN_FOLDER", Settings.plugin_folder),
        pod_resources_socket=source.path("POD_RESOURCES_SOCKET", Settings.pod_resources_socket),
        log_level=source.text("LOG_LEVEL", Settings.log_level).lower(),
        health_address=source.text("HEALTH_ADDRESS", Settings.health_address),
        health_port=source.port("HEALTH_PORT", Settings.health_port),
        metrics_address=source.text("METRICS_ADDRESS", Settings.metrics_address),
        metrics_port=source.port("METRICS_PORT", Settings.metrics_port),
        grace_seconds=source.seconds("GRACE_SECONDS", Settings.grace_seconds),
        forget_seconds=source.seconds("FORGET_SECONDS", Settings.forget_seconds),
        keepalive_seconds=source.seconds("KEEPALIVE_SECONDS", Settings.keepalive_seconds),
        silence_seconds=source.seconds("SILENCE_SECONDS", Settings.silence_seconds),
        resolve_seconds=source.seconds("RESOLVE_SECONDS", Settings.resolve_seconds),
        trust_seconds=source.seconds("TRUST_SECONDS", Settings.trust_seconds),
    )
    if settings.log_level not in _LOG_LEVELS:
        raise ConfigurationError(
            f"KUBEQPU_LOG_LEVEL is {settings.log_level!r}; expected {', '.join(_LOG_LEVELS)}."
        )
    if len(str(settings.plugin_folder)) > _MAX_FOLDER_LENGTH:
        raise ConfigurationError(
            f"KUBEQPU_PLUGIN_FOLDER {str(settings.plugin_folder)!r} is too long for sockets in it; "
            f"expected at most {_MAX_FOLDER_LENGTH} characters."
        )
    return settings


@dataclass(frozen=True)
class _Source:
    """Reads single variables."""

    variables: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        found = self.variables.get(f"KUBEQPU_{name}", "").strip() or default
        if not found:
            raise ConfigurationError(f"KUBEQPU_{name} is not set; the device plugin needs it.")
        return found

    def path(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default)))

    def port(self, name: str, default: int) -> int:
        found = self.text(name, str(default))
        if not found.isdigit() or int(found) >= 2**16:
            raise ConfigurationError(f"KUBEQPU_{name} is {found!r}; expected 0 to 65535.")
        return int(found)

    def seconds(self, name: str, default: float) -> float:
        found = self.text(name, str(default))
        try:
            value = float(found)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e6:
            raise ConfigurationError(
                f"KUBEQPU_{name} is {found!r}; expected a number of seconds above 0."
            )
        return value
