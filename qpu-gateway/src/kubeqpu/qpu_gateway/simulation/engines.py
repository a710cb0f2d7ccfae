"""Making engines from what providers send to workers."""

from pydantic import JsonValue

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.simulation.engine import Engine
from kubeqpu.qpu_gateway.simulation.ideal import IdealSettings
from kubeqpu.qpu_gateway.simulation.ideal_engine import IdealEngine
from kubeqpu.qpu_gateway.simulation.noisy_engine import NoisyEngine, NoisySettings


def make_engine(settings: dict[str, JsonValue]) -> Engine:
    """Makes the engine of one QPU.

    Args:
        settings: `kind` and the settings of that kind.

    Raises:
        ProviderError: If the kind is unknown.
    """
    kind, given = settings["kind"], settings["settings"]
    if kind == "ideal":
        return IdealEngine(IdealSettings.model_validate(given))
    if kind == "noisy":
        return NoisyEngine(NoisySettings.model_validate(given))
    raise ProviderError(f"The worker knows no engine {kind!r}; this is a bug.")
