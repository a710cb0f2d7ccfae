"""Which QPUs satisfy a demand, kept up to date row by row."""

import math
from datetime import datetime

import numpy as np

from kubeqpu.common.placement import PlacementClass, Refusal, fits, raise_min_qubits
from kubeqpu.scheduler_extender.fleet import Fleet
from kubeqpu.scheduler_extender.groups import Flags, Floats
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Demand

# A refusal for its age tells the age, which moves on.
_RETELL_SECONDS = 60.0


class Eligibility:
    """The QPUs that satisfy one demand.

    Only what changed is judged again: QPUs that changed, all when the class did, and those whose
    calibration has come of age.

    Attributes:
        version: Grows whenever a verdict changed.
        fit: Which QPUs satisfy it, by row.
    """

    def __init__(self, demand: Demand, fleet: Fleet) -> None:
        self.version = 0
        self.fit: Flags = np.zeros(0, dtype=np.bool_)
        self._demand = demand
        self._fleet = fleet
        self._refusals: list[Refusal | None] = []
        self._due: Floats = np.zeros(0)
        self._next_due = math.inf
        self._seen_version = 0
        self._wanted: PlacementClass | None = None
        self._raised = PlacementClass()

    def refusal(self, row: int) -> Refusal | None:
        """Tells why a QPU does not satisfy it; None if it does."""
        return self._refusals[row]

    def refresh(self, wanted: PlacementClass, now: datetime) -> None:
        """Brings the verdicts up to date.

        Args:
            wanted: The class, as it is now.
            now: The time, with time zone.
        """
        self._grow()
        if wanted != self._wanted:
            self._wanted = wanted
            self._raised = raise_min_qubits(wanted, self._demand.min_qubits)
            stale = set(range(self._fleet.rows))
        else:
            stale = set(self._fleet.changed_since(self._seen_version))
            if self._next_due < now.timestamp():
                stale.update(np.nonzero(self._due < now.timestamp())[0].tolist())
        self._seen_version = self._fleet.version
        changed = [self._judge(row, self._fleet.at(row), now) for row in stale]
        self.version += any(changed)
        if stale:
            self._next_due = float(self._due.min())

    def _grow(self) -> None:
        more = self._fleet.rows - len(self._refusals)
        if more > 0:
            self._refusals += [None] * more
            self.fit = np.append(self.fit, np.zeros(more, dtype=np.bool_))
            self._due = np.append(self._due, np.full(more, math.inf))

    def _judge(self, row: int, seen: SeenQPU | None, now: datetime) -> bool:
        """Judges a row again; tells whether the verdict is another one."""
        requirements = self._raised.requirements
        due, refusal = math.inf, None
        if seen is not None:
            refusal = fits(seen.plain, requirements, now, self._raised.name)
            limit, calibration = requirements.max_calibration_age_seconds, seen.plain.calibration
            if limit is not None and calibration is not None:
                due = calibration.time.timestamp() + limit
                if due < now.timestamp():
                    due = now.timestamp() + _RETELL_SECONDS
        fit = seen is not None and refusal is None
        changed = fit != self.fit[row] or refusal != self._refusals[row]
        self._refusals[row], self.fit[row], self._due[row] = refusal, fit, due
        return bool(changed)
