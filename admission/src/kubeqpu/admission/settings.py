"""What the controller is told, by flags and the environment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from kubeqpu.admission.errors import ConfigurationError
from kubeqpu.common.names import SCHEDULER
from kubeqpu.common.settings import Settings, describe_mistake


class AdmissionSettings(Settings):
    """Base of the settings of every command."""

    @classmethod
    def load(cls, flags: Sequence[str] = ()) -> Self:
        """Reads flags, then the environment.

        Raises:
            ConfigurationError: If a setting is missing or wrong.
        """
        try:
            return cls(_cli_parse_args=list(flags))  # type: ignore[call-arg]
        except ValidationError as error:
            raise ConfigurationError(describe_mistake(error)) from error


class LeaseSettings(AdmissionSettings):
    """Which Lease says who acts; the chart sets it."""

    namespace: str = Field(min_length=1, max_length=63)
    """Where the Leases are: the controller's own, and those that gateways renew."""
    lease: str = Field(min_length=1, max_length=253)
    """Name of the Lease that says which of the controller's pods acts. It has to exist."""


class ControllerSettings(LeaseSettings):
    """Settings of `admission controller`; the chart sets those without a default."""

    model_config = SettingsConfigDict(cli_prog_name="admission controller")

    pod_name: str = Field(min_length=1, max_length=253)
    """Name of this pod, by which it holds the Lease and signs Events."""
    lease_duration_seconds: float = Field(default=40.0, ge=4, le=3600)
    """How long a gateway may leave a QPU's Lease without renewal before it counts as silent."""
    clock_skew_seconds: float = Field(default=30.0, ge=0, le=3600)
    """How far the clocks of gateways may be off before their Leases are judged wrongly early."""
    pool_lower_seconds: float = Field(default=30.0, ge=0, le=3600)
    """For how long there may be fewer usable slots before Kueue's quota of them is lowered."""
    owner: str = Field(default="", max_length=253)
    """Name of the ClusterRole with which the Cohort of Kueue is deleted; empty: it stays."""
    health_address: str = "0.0.0.0"  # noqa: S104 - the kubelet probes the pod's own address
    """Where health is served."""
    health_port: int = Field(default=8081, ge=0, le=65_535)
    """Port of /healthz; 0 lets the system choose."""
    metrics_address: str = "0.0.0.0"  # noqa: S104 - Prometheus scrapes the pod's own address
    """Where metrics are served."""
    metrics_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of /metrics; 0 lets the system choose."""


class CleanupSettings(LeaseSettings):
    """Settings of `admission cleanup`; the chart sets them."""

    model_config = SettingsConfigDict(cli_prog_name="admission cleanup")


class WebhookSettings(AdmissionSettings):
    """Settings of `admission webhooks`; none has to be set."""

    model_config = SettingsConfigDict(cli_prog_name="admission webhooks")

    address: str = "0.0.0.0"  # noqa: S104 - the API server calls from outside the pod
    """Where the API server is answered."""
    port: int = Field(default=9443, ge=0, le=65_535)
    """Port of /mutate and /validate; 0 lets the system choose."""
    tls_folder: Path = Path("/etc/kubeqpu/tls")
    """Folder with tls.crt and tls.key, which may change at any time, and ca.crt: the authority of
    the gateways, for pods. Without ca.crt, pods trust what their image trusts."""
    reload_seconds: float = Field(default=5.0, gt=0, le=3600)
    """How often these files are looked at."""
    scheduler_name: str = Field(default=SCHEDULER, max_length=253)
    """Scheduler of pods that ask for slots and name none; empty: the default one."""
    drain_seconds: float = Field(default=5.0, ge=0, le=600)
    """For how long it still answers when it is told to stop, until no one calls it any more."""
    health_address: str = "0.0.0.0"  # noqa: S104 - the kubelet probes the pod's own address
    """Where health is served."""
    health_port: int = Field(default=8081, ge=0, le=65_535)
    """Port of /healthz and /readyz; 0 lets the system choose."""
    metrics_address: str = "0.0.0.0"  # noqa: S104 - Prometheus scrapes the pod's own address
    """Where metrics are served."""
    metrics_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of /metrics; 0 lets the system choose."""
