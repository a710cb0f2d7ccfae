"""What the extender is told, by flags and the environment."""

import socket
from collections.abc import Sequence
from typing import Self

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from kubeqpu.common.names import SCHEDULER
from kubeqpu.common.settings import Settings, describe_mistake
from kubeqpu.scheduler_extender.decisions import BEST_NODES
from kubeqpu.scheduler_extender.errors import ConfigurationError


class ExtenderSettings(Settings):
    """Settings of `scheduler-extender`; none has to be set."""

    model_config = SettingsConfigDict(cli_prog_name="scheduler-extender")

    address: str = "127.0.0.1"
    """Where the scheduler is answered: its own pod only, for nothing proves who asks."""
    port: int = Field(default=7901, ge=0, le=65_535)
    """Port of /filter, /prioritize and /preempt; 0 lets the system choose."""
    best_nodes: int = Field(default=BEST_NODES, ge=1, le=100_000)
    """How many of the nodes that pass filter are given to the scheduler, the best first."""
    request_timeout_seconds: float = Field(default=5.0, gt=0, le=600)
    """How long a request may take to arrive."""
    scheduler_name: str = Field(default=SCHEDULER, min_length=1, max_length=253)
    """The `schedulerName` of the pods that it decides about."""
    orphan_seconds: float = Field(default=60.0, ge=5.0, le=86_400)
    """After how long a bound pod that nobody explained is judged again, as after a restart."""
    silence_seconds: float = Field(default=150.0, gt=0, le=86_400)
    """After how long without a word from the API server nothing is decided any more."""
    outage_seconds: float = Field(default=30.0, gt=0, le=86_400)
    """The same where the API server cannot be reached."""
    pod_name: str = Field(default_factory=socket.gethostname, min_length=1, max_length=253)
    """Name of this pod, by which it signs Events."""
    health_address: str = "0.0.0.0"  # noqa: S104 - the kubelet probes the pod's own address
    """Where health is served."""
    health_port: int = Field(default=8081, ge=0, le=65_535)
    """Port of /healthz and /readyz; 0 lets the system choose."""
    metrics_address: str = "0.0.0.0"  # noqa: S104 - Prometheus scrapes the pod's own address
    """Where metrics are served."""
    metrics_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of /metrics; 0 lets the system choose."""

    @classmethod
    def load(cls, flags: Sequence[str] = ()) -> Self:
        """Reads flags, then the environment.

        Raises:
            ConfigurationError: If a setting is wrong.
        """
        try:
            return cls(_cli_parse_args=list(flags))  # type: ignore[call-arg]
        except ValidationError as error:
            raise ConfigurationError(describe_mistake(error)) from error
        except SettingsError as error:
            raise ConfigurationError(f"{error}. `scheduler-extender --help` tells all.") from error
