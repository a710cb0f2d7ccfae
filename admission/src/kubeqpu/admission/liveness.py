"""Serves /healthz: whether the loops go round."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from kubeqpu.kube.probes import serve_probes


def serve_health(
    find_stalled: Callable[[], Mapping[str, float]], address: str, port: int
) -> AbstractAsyncContextManager[int]:
    """Serves health while the context is open; gives the port.

    It answers 200 while every loop goes round, whether what it does succeeds or not: a restart
    heals a loop that hangs, and neither an API server nor a gateway.

    Args:
        find_stalled: Finds the loops that hang, with the seconds since they came round.
        address: Where to listen.
        port: Port to listen on; 0 lets the system choose.
    """

    def find_fault() -> str:
        stalled = sorted(find_stalled().items())
        return "\n".join(f"Loop {loop} hangs for {age:.0f} s." for loop, age in stalled)

    return serve_probes({"/healthz": find_fault}, address, port)
