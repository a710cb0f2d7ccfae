"""The gateway's settings: flags, environment and the configuration file that names its QPUs."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import CliApp, SettingsError

from kubeqpu.common.placement import (
    PlacementClass,
    Requirements,
    Weights,
)
from kubeqpu.common.settings import Settings
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.workers import WorkerLimits

DEFAULT_CLASS = "standard"


class ConfigurationError(ValueError):
    """The flags, the environment or the configuration file are wrong; one sentence says how."""


def is_local(address: str) -> bool:
    """Tells whether only this machine can reach a listen address."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TLSSettings(BaseModel):
    """The certificate that callers see; both files are read again when they change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    certificate: Path
    """File with the certificate chain, PEM."""
    key: Path
    """File with its private key, PEM."""


class ClusterSettings(BaseModel):
    """The Kubernetes cluster that knows the callers and keeps the QPU objects."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gateway: str
    """Name of this gateway, the same for all its replicas."""
    namespace: str
    """Where this gateway runs, and where it renews its QPUs' Leases."""
    endpoint: str
    """Where callers in the cluster reach it, as host:port."""
    owners: dict[str, str] = Field(default_factory=dict)
    """By QPU, the ClusterRole with which the QPU object is collected."""
    audience: str = "kubeqpu.io/gateway"
    """Audience that callers' tokens must have."""
    device_plugin: str | None = Field(
        default=None, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
    )
    """ServiceAccount of the device plugin, as namespace/name; null: pods are given no slots."""
    slot_settle_seconds: float = Field(default=5.0, ge=0)
    """How long slots that no node has wait for further device plugins before they are divided."""
    slot_return_seconds: float = Field(default=300.0, gt=0)
    """After how long without its device plugin a node loses its slots."""
    slot_silence_seconds: float = Field(default=30.0, gt=0)
    """After how long without a report a device plugin counts as disconnected."""
    orphan_grace_seconds: float = Field(default=60.0, ge=0)
    """How long jobs go on after their pod no longer holds a slot, unless they are detached."""


class Limits(BaseModel):
    """What one caller may ask for at most; everything above is refused before it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_message_bytes: int = Field(default=256 * 2**20, ge=4096)
    """Largest request or response on the wire."""
    max_circuit_bytes: int = Field(default=64 * 2**20, ge=64)
    """Largest QPY payload of a job."""
    max_job_circuits: int = Field(default=1_000_000, ge=1)
    """Most rows in one job."""
    max_job_shots: int = Field(default=500_000_000, ge=1)
    """Most shots in one job, over all its rows."""
    max_pauli_terms: int = Field(default=1_000_000, ge=1)
    """Most Pauli terms in one job, over all its observables."""
    max_unfinished_jobs: int = Field(default=10_000, ge=1)
    """Most queued and running jobs of one tenant."""
    max_blob_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest blob."""
    max_tenant_blob_bytes: int = Field(default=2**30, ge=1)
    """Most bytes in blobs of one tenant."""
    max_database_bytes: int = Field(default=64 * 2**30, ge=2**18)
    """Size at which a SQLite database refuses to grow; means nothing for PostgreSQL."""
    max_ttl_seconds: float = Field(default=30 * 86_400.0, gt=0)
    """Longest time for which a caller may keep results or blobs."""


class ClassSettings(BaseModel):
    """One class of the configuration file; the names are those of the QPUClass object in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirements: Requirements = Requirements()
    weights: Weights = Weights()

    def to_class(self, name: str) -> PlacementClass:
        """Gives the class as placement wants it."""
        return PlacementClass(name, self.requirements, self.weights)


class GatewaySettings(Settings):
    """Settings of the gateway."""

    listen: tuple[str, ...] = ("127.0.0.1:7070",)
    """Addresses to serve on: host:port or unix:<path>. Beyond loopback, `tls` and `cluster` must be
    set too."""
    health_listen: str | None = None
    """Another address, as host:port, that serves the health service alone, without TLS."""
    tls: TLSSettings | None = None
    """The certificate for all addresses but unix sockets; null serves without TLS."""
    cluster: ClusterSettings | None = None
    """The cluster whose callers are served; null believes callers what they say, on loopback."""
    pod_name: str = ""
    """Name of the gateway's pod."""
    node_name: str = ""
    """Name of the node that the gateway's pod runs on."""
    data_dir: Path = Path("data")
    """Directory of the SQLite database; made if it does not exist."""
    database_url_file: Path | None = None
    """File with the URL of a PostgreSQL database to use in place of SQLite; read again at every
    connection."""
    config: Path | None = None
    """YAML file with the QPUs (`qpus:`) and classes (`classes:`) of this gateway."""
    qpus: tuple[QPUSettings, ...] = ()
    """QPUs to serve, if they are not in the configuration file."""
    classes: dict[str, ClassSettings] = Field(default_factory=dict)
    """QPU classes by name; `standard`, without requirements, always exists."""
    metrics_address: str = "127.0.0.1"
    """Address of the Prometheus endpoint."""
    metrics_port: int | None = Field(default=9464, ge=0, le=65535)
    """Port of the Prometheus endpoint; 0 lets the system choose, null serves none."""
    limits: Limits = Limits()
    """Limits per caller."""
    workers: WorkerLimits = WorkerLimits()
    """Limits of the processes that load and simulate circuits."""
    result_ttl_seconds: float = Field(default=7 * 86_400.0, gt=0)
    """How long results are kept after a job ended, unless the job says so itself."""
    blob_ttl_seconds: float = Field(default=86_400.0, gt=0)
    """How long a blob is kept, unless the caller says so."""
    sweep_interval_seconds: float = Field(default=60.0, gt=0)
    """How often expired results and blobs are deleted."""
    stop_grace_seconds: float = Field(default=20.0, ge=0)
    """How long running batches may take to finish after SIGTERM."""
    batch_seconds: float = Field(default=0.5, gt=0)
    """How long one batch should run: the work that a crash repeats."""

    def placement_classes(self) -> Mapping[str, PlacementClass]:
        """Gives all classes by name, the default one included."""
        named = {name: section.to_class(name) for name, section in self.classes.items()}
        return {DEFAULT_CLASS: PlacementClass(DEFAULT_CLASS), **named}


def load_settings(arguments: list[str] | None = None) -> GatewaySettings:
    """Reads flags, environment and the configuration file they name.

    Args:
        arguments: Command-line arguments; None takes those of the process.

    Returns:
        The settings, with the file's sections filled in.

    Raises:
        ConfigurationError: If a value is wrong; the message names it and what was expected.
    """
    try:
        settings = CliApp.run(GatewaySettings, cli_args=arguments)
        if settings.config is not None:
            sections = _read_file(settings.config)
            # Flags and environment outrank the file.
            merged = _merge(sections, settings.model_dump(exclude_unset=True))
            settings = GatewaySettings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from error
    except SettingsError as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise ConfigurationError(f"A flag is wrong: {' '.join(reason.split())}.") from error
    _check_names(settings)
    _check_exposure(settings)
    return settings


def _read_file(path: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"Configuration file {path} cannot be read ({error}); name a readable YAML file."
        ) from error
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise ConfigurationError(f"Configuration file {path} is not YAML: {where}.") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(
            f"Configuration file {path} holds no mapping; expected one with the key `qpus`."
        )
    return content


def _merge(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = _merge(under, value)
        else:
            merged[key] = value
    return merged


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "settings"
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"Setting {place} is wrong: {message}{more}."


def _check_names(settings: GatewaySettings) -> None:
    names = [qpu.name for qpu in settings.qpus]
    if not names:
        raise ConfigurationError(
            "The gateway has no QPU; list at least one under `qpus` in the configuration file."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"QPU {twice[0]} is configured more than once; give every QPU a name of its own."
        )
    if not settings.listen:
        raise ConfigurationError("The gateway has no listen address; set at least one.")


def _check_exposure(settings: GatewaySettings) -> None:
    for address in settings.listen:
        if not is_local(address) and (settings.tls is None or settings.cluster is None):
            raise ConfigurationError(
                f"Listen address {address!r} can be reached from other machines, so callers have "
                "to be authenticated; set `tls` and `cluster`, or use a loopback address such as "
                "127.0.0.1:7070 or unix:/run/gateway.sock."
            )
