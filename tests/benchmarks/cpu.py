"""How much processor time processes use."""

from collections.abc import Mapping

import psutil


def read_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Gives the CPU time that each process has used so far, without its children.

    Args:
        pids: The processes, by what they are.
    """
    found = {}
    for name, pid in pids.items():
        times = psutil.Process(pid).cpu_times()
        found[name] = times.user + times.system
    return found


def per_item(
    before: Mapping[str, float], after: Mapping[str, float], items: int
) -> dict[str, float]:
    """Gives the CPU time between two readings, in milliseconds per item."""
    return {name: (after[name] - before[name]) * 1e3 / items for name in before}
