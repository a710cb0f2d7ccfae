"""What a client takes from its environment: the only place in this component that reads it.

Reads the environment directly: pydantic-settings would triple the time to import a client, which
short-lived workflow steps pay every time.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from kubeqpu.common import names


@dataclass(frozen=True)
class ClientSettings:
    """Where a program finds its gateway and its QPU.

    Attributes:
        gateway: Address of the gateway (`KUBEQPU_GATEWAY`), or None.
        qpu: Name of the QPU whose slot this pod holds (`KUBEQPU_QPU`), or None.
    """

    gateway: str | None = None
    qpu: str | None = None


def read_settings(environment: Mapping[str, str] | None = None) -> ClientSettings:
    """Reads the settings from the environment; empty variables count as unset."""
    source = os.environ if environment is None else environment
    return ClientSettings(
        gateway=source.get(names.ENV_GATEWAY) or None, qpu=source.get(names.ENV_QPU) or None
    )
