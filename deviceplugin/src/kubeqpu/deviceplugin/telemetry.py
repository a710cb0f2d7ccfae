"""Prometheus metrics of the device plugin. Every label set exists from the start, at zero."""

from collections.abc import Callable

from kubeqpu.common.names import METRIC_PREFIX, RESOURCES
from kubeqpu.deviceplugin.metrics import Counter, Histogram, Number, Registry
from kubeqpu.deviceplugin.slots import Cause

# Whatever is tried again after a wait.
STEPS = (
    "register", "serve", "list", "pod_resources", "discover", "connect", "credentials", "ownership",
    "internal",
)  # fmt: skip
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Telemetry:
    """What the device plugin counts and measures.

    Args:
        registry: Where the metrics are registered.
    """

    def __init__(self, registry: Registry) -> None:
        prefix = f"{METRIC_PREFIX}deviceplugin_"

        def gauge(name: str, text: str, *labels: str) -> Number:
            return registry.gauge(prefix + name, text, *labels)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return registry.counter(prefix + name, text, *labels)

        def histogram(name: str, text: str) -> Histogram:
            return registry.histogram(prefix + name, text, _SECONDS)

        self._slots = gauge("slots", "Listed slots, by health.", "resource", "health")
        self._held = gauge("slots_held", "Slots that containers have.", "resource")
        self._refused = gauge("slots_refused", "Slots offered and not listed.", "cause")
        self._list_bytes = gauge("list_bytes", "Length of the device list.", "resource")
        self._registered = gauge("registered", "1 while the kubelet follows.", "resource")
        self._streams = gauge("gateway_streams", "Streams that a gateway answers on.")
        self._addresses = gauge("gateway_addresses", "Addresses of gateways' pods.")
        self._superseded = gauge("superseded", "1 while a newer device plugin acts.")
        self._backoff = gauge("backoff_seconds", "The present wait after a failure.", "step")
        self._failures = counter("failures", "Attempts that failed.", "step")
        self._registrations = counter("registrations", "Registrations that succeeded.", "resource")
        self._lists = counter("lists_sent", "Device lists sent.", "resource")
        self._allocations = counter(
            "allocations", "Containers that asked for slots.", "resource", "result"
        )
        self._register_seconds = histogram(
            "register_seconds", "From the kubelet's socket, or the stream's end, to registration."
        )
        self._allocate_seconds = histogram("allocate_seconds", "How long Allocate took.")
        self._pod_resources_seconds = histogram("pod_resources_seconds", "How long List took.")
        self._initialise()

    def _initialise(self) -> None:
        for resource in RESOURCES:
            for health in ("healthy", "unhealthy"):
                self._slots.set(0, resource, health)
            for result in ("given", "refused"):
                self._allocations.set(0, resource, result)
            for metric in (
                self._held, self._list_bytes, self._registered, self._registrations, self._lists
            ):  # fmt: skip
                metric.set(0, resource)
        for cause in Cause:
            self._refused.set(0, cause)
        for step in STEPS:
            self._failures.set(0, step)
            self._backoff.set(0, step)

    def show_slots(self, resource: str, healthy: int, unhealthy: int, held: int) -> None:
        """Shows how many slots a list has."""
        self._slots.set(healthy, resource, "healthy")
        self._slots.set(unhealthy, resource, "unhealthy")
        self._held.set(held, resource)

    def show_list_bytes(self, resource: str, length: int) -> None:
        """Shows how long a list is."""
        self._list_bytes.set(length, resource)

    def show_refused(self, cause: Cause, slots: int) -> None:
        """Shows how many slots are refused."""
        self._refused.set(slots, cause)

    def show_registered(self, resource: str, registered: bool) -> None:
        """Shows whether the kubelet follows a list."""
        self._registered.set(registered, resource)

    def follow(
        self,
        streams: Callable[[], int],
        addresses: Callable[[], int],
        superseded: Callable[[], bool],
    ) -> None:
        """Reads these at every scrape."""
        self._streams.follow(streams)
        self._addresses.follow(addresses)
        self._superseded.follow(superseded)

    def fail(self, step: str, wait_seconds: float) -> None:
        """Counts a failure and shows how long the next attempt has to wait."""
        self._failures.add(step)
        self._backoff.set(wait_seconds, step)

    def succeed(self, step: str) -> None:
        """Shows that a step waits no more."""
        self._backoff.set(0, step)

    def count_registration(self, resource: str, seconds: float) -> None:
        """Counts a registration and how long it took."""
        self._registrations.add(resource)
        self._register_seconds.observe(seconds)

    def count_list(self, resource: str) -> None:
        """Counts a list that was sent."""
        self._lists.add(resource)

    def count_allocation(self, resource: str, result: str) -> None:
        """Counts a container."""
        self._allocations.add(resource, result)

    def observe_allocate(self, seconds: float) -> None:
        """Measures an Allocate."""
        self._allocate_seconds.observe(seconds)

    def observe_pod_resources(self, seconds: float) -> None:
        """Measures a List."""
        self._pod_resources_seconds.observe(seconds)
