"""Which quota a pair has: raised at once, lowered late, as plain data.

A quota is the most usable slots there were within the last seconds, so that a QPU which is away for
a moment changes nothing.

A slot that a pod holds counts while its QPU is not usable, too: Kueue goes on counting the pod's
workload, so that without it the quota of QPUs which work would be taken up by one that does not.
Such a slot is given by no one else, so that the quota is lowered at once when its pod ends.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeqpu.admission.pool.slots import Count, Pair


@dataclass(frozen=True)
class Level:
    """What is known of a pair.

    Attributes:
        count: Its slots now.
        past: Higher numbers of usable slots that there were, with the monotonic time until when;
            the highest and oldest first.
    """

    count: Count
    past: tuple[tuple[int, float], ...] = ()

    @property
    def quota(self) -> int:
        """How many slots Kueue may give out."""
        highest = self.past[0][0] if self.past else self.count.usable
        return max(highest, self.count.usable + self.count.stranded)


def observe(known: Level | None, count: Count, now: float, lower_seconds: float) -> Level:
    """Takes in how many slots a pair has now.

    Args:
        known: What was known of it; None for a new one.
        count: Its slots.
        now: Monotonic time, in seconds.
        lower_seconds: For how long fewer slots lower no quota.
    """
    if known is None:
        return Level(count)
    past = (*known.past, (known.count.usable, now))
    kept = tuple(
        (usable, until)
        for usable, until in past
        if usable > count.usable and until + lower_seconds > now
    )
    return Level(count, kept)


def recall(quota: int, now: float) -> Level:
    """Begins with a quota that another controller wrote, which may be about to be lowered."""
    return Level(Count(), ((quota, now),) if quota else ())


def observe_all(
    known: Mapping[Pair, Level], counts: Mapping[Pair, Count], now: float, lower_seconds: float
) -> dict[Pair, Level]:
    """Takes in the slots of all pairs; those without a count are forgotten."""
    return {
        pair: observe(known.get(pair), count, now, lower_seconds) for pair, count in counts.items()
    }


def find_next(levels: Iterable[Level], lower_seconds: float) -> float:
    """Finds when a quota is lowered next if nothing changes, in monotonic seconds."""
    return min((level.past[0][1] + lower_seconds for level in levels if level.past),
               default=math.inf)  # fmt: skip
