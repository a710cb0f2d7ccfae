"""What a client takes from its environment: the only place in this component that reads it.

Reads the environment directly: pydantic-settings would triple the time to import a client, which
short-lived workflow steps pay every time.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeqpu.common import names


@dataclass(frozen=True)
class ClientSettings:
    """Where a program finds its gateway and its QPU.

    Attributes:
        gateway: Address of the gateway (`KUBEQPU_GATEWAY`), or None.
        qpu: Name of the QPU whose slot this pod holds (`KUBEQPU_QPU`), or None.
        token_file: File with the caller's token (`KUBEQPU_TOKEN_FILE`); else where pods have it
            mounted, if it is there, or None.
        ca_file: File with the gateway's authority that was chosen (`KUBEQPU_CA_FILE`), or None.
        mounted_ca_file: Where pods have an authority mounted, if it is there, or None. It is for
            gateways elsewhere and says nothing about one on this machine.
    """

    gateway: str | None = None
    qpu: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    mounted_ca_file: Path | None = None


def read_settings(
    environment: Mapping[str, str] | None = None, root: Path = Path("/")
) -> ClientSettings:
    """Reads the settings from the environment; empty variables count as unset.

    Args:
        environment: Variables; None takes those of the process.
        root: Where the file system of mounts begins.
    """
    source = os.environ if environment is None else environment
    return ClientSettings(
        gateway=source.get(names.ENV_GATEWAY) or None,
        qpu=source.get(names.ENV_QPU) or None,
        token_file=_named(source, names.ENV_TOKEN_FILE) or _mounted(root, names.TOKEN_FILE),
        ca_file=_named(source, names.ENV_CA_FILE),
        mounted_ca_file=_mounted(root, names.CA_FILE),
    )


def _named(source: Mapping[str, str], variable: str) -> Path | None:
    name = source.get(variable)
    return Path(name) if name else None


def _mounted(root: Path, name: str) -> Path | None:
    path = root / name.lstrip("/")
    return path if path.exists() else None
