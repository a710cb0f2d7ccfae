"""Remembers what circuits look like, so that those sent again need no worker.

Sweeps, variational loops and the rounds of a cut circuit send the same templates with new
parameter values over and over.
"""

import hashlib
from collections import OrderedDict

from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.submission import Inspector

_REMEMBERED_PAYLOADS = 256
_REMEMBERED_CIRCUITS = 100_000


class RememberingInspector:
    """An inspector that asks another one about each payload of a tenant once.

    Only what was acceptable is remembered, under the digest of the payload. Tenants share nothing:
    the time of an answer must not tell what another tenant sent.

    Args:
        inspector: Loads circuits that are not known.
    """

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._known: OrderedDict[tuple[str, bytes], tuple[CircuitSummary, ...]] = OrderedDict()
        self._circuits = 0

    async def inspect(self, tenant: str, qpy: bytes) -> tuple[CircuitSummary, ...]:
        """Describes each circuit of a QPY payload; raises what the other inspector raises."""
        key = (tenant, hashlib.sha256(qpy).digest())
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        found = await self._inspector.inspect(tenant, qpy)
        self._remember(key, found)
        return found

    def _remember(self, key: tuple[str, bytes], summaries: tuple[CircuitSummary, ...]) -> None:
        if key not in self._known:
            self._circuits += len(summaries)
        self._known[key] = summaries
        while len(self._known) > _REMEMBERED_PAYLOADS or self._circuits > _REMEMBERED_CIRCUITS:
            _, forgotten = self._known.popitem(last=False)
            self._circuits -= len(forgotten)
