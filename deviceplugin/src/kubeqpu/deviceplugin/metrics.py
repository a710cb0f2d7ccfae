"""Counters, gauges and histograms in Prometheus' text format.

Prometheus' own library takes four megabytes on every node, and Python's TLS with it five more.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _label(names: Sequence[str], values: Sequence[str]) -> str:
    def quote(value: str) -> str:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    pairs = [f'{name}="{quote(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


class Number:
    """A counter or a gauge, with a value for each of its labels' values.

    Args:
        name: Its name; a counter's ends with `_total`.
        text: What it tells.
        labels: Names of its labels.
    """

    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.text = text
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}
        self._read: Callable[[], float] | None = None
        if not labels:
            self._values[()] = 0.0

    def set(self, value: float, *labels: str) -> None:
        """Sets the value for some labels."""
        self._values[labels] = float(value)

    def add(self, *labels: str) -> None:
        """Adds one for some labels."""
        self._values[labels] = self._values.get(labels, 0.0) + 1

    def follow(self, read: Callable[[], float]) -> None:
        """Reads the value whenever somebody looks; for a metric without labels."""
        self._read = read

    def samples(self) -> Iterator[tuple[str, float]]:
        """Gives the name with labels, and the value, of each of its lines."""
        if self._read is not None:
            self._values[()] = float(self._read())
        for labels, value in self._values.items():
            yield self.name + _label(self._labels, labels), value


class Counter(Number):
    """A number that only rises."""

    kind = "counter"


class Histogram:
    """How often values were how large.

    Args:
        name: Its name.
        text: What it tells.
        buckets: Upper bounds, in order.
    """

    kind = "histogram"

    def __init__(self, name: str, text: str, buckets: Sequence[float]) -> None:
        self.name = name
        self.text = text
        self._buckets = tuple(buckets)
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Takes in a value."""
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def samples(self) -> Iterator[tuple[str, float]]:
        """Gives the name with labels, and the value, of each of its lines."""
        bounds = (*(f"{bound:g}" for bound in self._buckets), "+Inf")
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            yield f'{self.name}_bucket{{le="{bound}"}}', count
        yield f"{self.name}_sum", self._sum
        yield f"{self.name}_count", sum(self._counts)


class Registry:
    """All metrics of a process."""

    def __init__(self) -> None:
        self._metrics: list[Number | Histogram] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Makes a counter; `_total` is added to its name."""
        made = Counter(f"{name}_total", text, labels)
        self._metrics.append(made)
        return made

    def gauge(self, name: str, text: str, *labels: str) -> Number:
        """Makes a gauge."""
        made = Number(name, text, labels)
        self._metrics.append(made)
        return made

    def histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        """Makes a histogram."""
        made = Histogram(name, text, buckets)
        self._metrics.append(made)
        return made

    def render(self) -> str:
        """Writes all of them as Prometheus reads them."""
        lines = []
        for metric in self._metrics:
            lines.append(f"# HELP {metric.name} {metric.text}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines += [f"{name} {value:.17g}" for name, value in metric.samples()]
        return "\n".join(lines) + "\n"
