"""How long the scheduler waits for the extender's answers while QPUs change."""

import http.client
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.benchmarks.report import Raw, Report
from tests.benchmarks.scheduler_stand_in import make_fleet, node_names, stand_in
from tests.support.extender_objects import args, pod_object
from tests.support.extender_process import ExtenderProcess, extender_process, write_kubeconfig

QPUS, NODES, SPREAD = 1000, 5000, 5
CHANGES_PER_SECOND = 50.0
CALLS = 2000
_WARM_UP = 50
_BEST = 64


@dataclass
class Calls:
    """Times of calls of one kind, in milliseconds."""

    name: str
    milliseconds: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Gives a percentile."""
        ordered = sorted(self.milliseconds)
        place = min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))
        return round(ordered[place], 3)

    def describe(self) -> dict[str, Raw]:
        """Describes the times."""
        return {
            "calls": len(self.milliseconds),
            "p50_ms": self.percentile(50),
            "p90_ms": self.percentile(90),
            "p99_ms": self.percentile(99),
            "max_ms": round(max(self.milliseconds), 3),
            "mean_ms": round(statistics.fmean(self.milliseconds), 3),
        }


class Caller:
    """Asks as the scheduler does: one after the other, on one connection.

    Args:
        port: Where the extender listens.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.connect()
        self._socket = self._connection.sock

    def ask(self, calls: Calls, verb: str, body: bytes) -> bytes:
        """Asks and notes the time from the first byte out to the last byte in."""
        began = time.perf_counter()
        self._connection.request("POST", f"/{verb}", body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        answer = reply.read()
        calls.milliseconds.append((time.perf_counter() - began) * 1000)
        assert reply.status == 200, answer
        assert self._connection.sock is self._socket, "the connection was closed"
        return answer


def measure_calls(
    calls: int = CALLS, changes_per_second: float = CHANGES_PER_SECOND, launch: tuple[str, ...] = ()
) -> Report:
    """Measures filter and prioritize.

    Args:
        calls: How many calls of each kind.
        changes_per_second: How many QPUs change their status in a second meanwhile.
        launch: What Python is to run before the extender, such as a profiler.
    """
    fleet = make_fleet(QPUS, NODES, SPREAD, seed=3)
    with tempfile.TemporaryDirectory() as folder, stand_in(fleet, changes_per_second) as server:
        began = time.monotonic()
        kubeconfig = write_kubeconfig(Path(folder), server.url)
        with extender_process(kubeconfig, launch=launch) as extender:
            found = _call_all(extender, calls)
            rss, cpu = extender.memory_mib(), extender.cpu_seconds()
            extender.stop()
        seconds = time.monotonic() - began
        changes = server.stop()
    figures = {
        "filter_p99_ms": found["filter_5000"].percentile(99),
        "prioritize_p99_ms": found["prioritize_5000"].percentile(99),
        "filter_p50_ms": found["filter_5000"].percentile(50),
        "prioritize_p50_ms": found["prioritize_5000"].percentile(50),
        "prioritize_best_p99_ms": found["prioritize_best"].percentile(99),
        "extender_rss_mib": rss,
    }
    conditions = {
        "calls": (
            f"{calls} of each kind, one after the other on one connection; names of {NODES} nodes, "
            f"and of the best {_BEST} as the scheduler asks after a filter"
        ),
        "fleet": f"{QPUS} QPUs, each with slots on {SPREAD} of {NODES} nodes",
        "changes": f"{changes / seconds:.0f} changed QPUs a second",
        "questions": "every call is of another pod; in filter_shapes each has another circuit "
        "shape, so that nothing kept helps",
    }
    raw: dict[str, Raw] = {name: item.describe() for name, item in found.items()}
    raw["cpu_seconds"] = cpu
    return Report(figures, conditions, raw)


def _call_all(extender: ExtenderProcess, calls: int) -> dict[str, Calls]:
    caller, generator = Caller(extender.port), random.Random(5)
    names = node_names(NODES)
    generator.shuffle(names)
    kinds = ("filter_5000", "prioritize_5000", "prioritize_best", "filter_shapes", "filter_refused")
    found = {name: Calls(name) for name in kinds}
    precise = {"kubeqpu.io/class": "precise"}
    for number in range(-_WARM_UP, calls):
        into = found if number >= 0 else {name: Calls(name) for name in kinds}
        body = args(pod_object(f"pod-{number}", precise), names)
        best = orjson.loads(caller.ask(into["filter_5000"], "filter", body))["NodeNames"]
        assert len(best) == _BEST
        caller.ask(into["prioritize_5000"], "prioritize", body)
        few = args(pod_object(f"pod-{number}", precise), best)
        caller.ask(into["prioritize_best"], "prioritize", few)
        if number % 10 == 0:
            shape = {"kubeqpu.io/circuit-shape": f"{number + 100},{number % 7}"}
            body = args(pod_object(f"shape-{number}", precise | shape), names)
            caller.ask(into["filter_shapes"], "filter", body)
            wide = args(pod_object(f"wide-{number}", {"kubeqpu.io/min-qubits": "100"}), names)
            caller.ask(into["filter_refused"], "filter", wide)
    return found


if __name__ == "__main__":
    report = measure_calls()
    print(orjson.dumps({"figures": report.figures, "raw": report.raw}, option=2).decode())
