"""The QPUs of this gateway: their providers, started and watched."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Protocol

import structlog

from kubeqpu.common.backoff import choose_retry_seconds
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.errors import GatewayError, NotFoundError, ProviderUnavailableError
from kubeqpu.qpu_gateway.messages import to_timestamp
from kubeqpu.qpu_gateway.providers.base import Provider, QPUSettings
from kubeqpu.qpu_gateway.settings import ConfigurationError
from kubeqpu.qpu_gateway.workers import WorkerPool

_LOG = structlog.get_logger(__name__)

PROVIDER_GROUP = "kubeqpu.providers"
# A description may be this old where a job is placed by it.
_FRESH_SECONDS = 1.0
_FIRST_START_SECONDS = 30.0


class ProviderFactory(Protocol):
    """Makes the provider of one QPU; a provider's class is one."""

    def __call__(self, settings: QPUSettings, workers: WorkerPool) -> Provider:
        """Makes the provider.

        Raises:
            ValueError: If the QPU's options are wrong.
            GatewayError: If the QPU's options are wrong.
        """


def load_factories() -> Mapping[str, ProviderFactory]:
    """Finds the installed providers by their entry-point names, without importing them all."""
    return _EntryPoints()


class _EntryPoints(Mapping[str, ProviderFactory]):
    """Providers by name, imported when first asked for."""

    def __init__(self) -> None:
        self._found = {point.name: point for point in entry_points(group=PROVIDER_GROUP)}

    def __getitem__(self, name: str) -> ProviderFactory:
        factory: ProviderFactory = self._found[name].load()
        return factory

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class ServedQPU:
    """One QPU: its settings, its provider, and what is known of it.

    Args:
        settings: Its section of the configuration.
        provider: What runs its circuits.

    Attributes:
        count_pending: Counts the circuits that wait or run here.
        count_running: Counts the batches at the provider.
        seconds_per_circuit: How long a circuit takes on average.
        on_schedulable: Called when the QPU is no longer cordoned.
        labels: Labels of its API object; none without a cluster.
    """

    def __init__(self, settings: QPUSettings, provider: Provider) -> None:
        self.settings = settings
        self.provider = provider
        self.count_pending: Callable[[], int] = lambda: 0
        self.count_running: Callable[[], int] = lambda: 0
        self.seconds_per_circuit: Callable[[], float] = lambda: 0.0
        self.on_schedulable: Callable[[], None] = lambda: None
        self.labels: Mapping[str, str] = {}
        self._unschedulable = False
        self._started = asyncio.Event()
        self._tried = asyncio.Event()
        self._problem = "its provider is starting"
        self._task: asyncio.Task[None] | None = None
        self._known: tuple[float, qpu_pb2.QPU] | None = None

    @property
    def name(self) -> str:
        """Name of the QPU."""
        return self.settings.name

    @property
    def unschedulable(self) -> bool:
        """Whether it is cordoned: jobs that have begun are finished, no other is started."""
        return self._unschedulable

    @unschedulable.setter
    def unschedulable(self, value: bool) -> None:
        changed, self._unschedulable = value != self._unschedulable, value
        if not changed:
            return
        _LOG.info("QPU cordoned" if value else "QPU uncordoned", qpu=self.name)
        if not value:
            self.on_schedulable()

    def check_schedulable(self) -> None:
        """Checks that new jobs are taken.

        Raises:
            ProviderUnavailableError: If the QPU is cordoned.
        """
        if self._unschedulable:
            raise ProviderUnavailableError(
                f"QPU {self.name} is cordoned by an operator and takes no new jobs; choose another "
                "QPU, or wait until it is uncordoned."
            )

    def start(self) -> None:
        """Starts the provider in the background, over and over until it succeeds."""
        self._task = asyncio.create_task(self._start_provider())

    async def close(self) -> None:
        """Lets go of the provider."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.provider.close()
        except Exception:
            _LOG.exception("Provider failed to close", qpu=self.name)

    @property
    def starting(self) -> bool:
        """Whether its provider's first attempt to start goes on."""
        return not self._tried.is_set()

    @property
    def started(self) -> bool:
        """Whether its provider runs."""
        return self._started.is_set()

    async def wait_started(self) -> None:
        """Waits until the provider runs; it may never."""
        await self._started.wait()

    async def describe(self, include_target: bool = False) -> qpu_pb2.QPU:
        """Describes the QPU now, with this gateway's own queue."""
        if not self._started.is_set():
            message = qpu_pb2.QPU(
                backend_name=self.provider.backend_name, simulator=self.provider.simulator
            )
            message.conditions.add(
                type="Ready",
                status="False",
                reason="ProviderNotStarted",
                message=self._problem,
                last_transition_time=to_timestamp(time.time()),
            )
        else:
            message = qpu_pb2.QPU()
            message.CopyFrom(await self.provider.describe(include_target))
        message.name = self.name
        message.provider = self.settings.provider
        message.slots = self.settings.slots
        pending = self.count_pending()
        message.queue.gateway_pending = min(pending, 2**32 - 1)
        own_wait = pending * self.seconds_per_circuit() / self.settings.slots
        message.queue.estimated_wait_seconds += own_wait
        return message

    async def describe_recently(self) -> qpu_pb2.QPU:
        """Describes the QPU as of a moment ago; waits for its provider to have tried to start.

        Raises:
            ProviderUnavailableError: If the provider did not start yet.
        """
        if not self._started.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._tried.wait(), _FIRST_START_SECONDS)
        if not self._started.is_set():
            raise ProviderUnavailableError(
                f"QPU {self.name} is not ready: {self._problem}. Try again later."
            )
        now = time.monotonic()
        if self._known is None or now - self._known[0] > _FRESH_SECONDS:
            self._known = (now, await self.describe())
        return self._known[1]

    async def _start_provider(self) -> None:
        generator = random.Random()  # noqa: S311 - jitter, no secret
        attempt = 0
        while True:
            try:
                await self.provider.start()
            except Exception as error:
                attempt += 1
                self._problem = (
                    str(error) if isinstance(error, GatewayError) else "its provider failed"
                )
                _LOG.exception("Provider failed to start", qpu=self.name, attempt=attempt)
                self._tried.set()
                await asyncio.sleep(choose_retry_seconds(attempt, generator))
            else:
                self._started.set()
                self._tried.set()
                _LOG.info("Provider started", qpu=self.name, provider=self.settings.provider)
                return


class QPUs(Mapping[str, ServedQPU]):
    """All QPUs of this gateway by name, in the order of the configuration.

    Args:
        sections: Their sections of the configuration.
        factories: Providers by name.
        workers: Processes for those that simulate.

    Raises:
        ConfigurationError: If a provider does not exist or refuses its options.
    """

    def __init__(
        self,
        sections: tuple[QPUSettings, ...],
        factories: Mapping[str, ProviderFactory],
        workers: WorkerPool,
    ) -> None:
        self._served = {
            section.name: ServedQPU(section, _make_provider(section, factories, workers))
            for section in sections
        }

    def __getitem__(self, name: str) -> ServedQPU:
        """Gives a QPU by name.

        Raises:
            NotFoundError: If there is none.
        """
        found = self._served.get(name)
        if found is None:
            raise NotFoundError(
                f"There is no QPU {name!r} here; this gateway serves {', '.join(self._served)}."
            )
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._served

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)


def _make_provider(
    section: QPUSettings, factories: Mapping[str, ProviderFactory], workers: WorkerPool
) -> Provider:
    if section.provider not in factories:
        raise ConfigurationError(
            f"QPU {section.name} names provider {section.provider!r}, which is not installed; "
            f"choose one of {', '.join(sorted(factories))}."
        )
    try:
        return factories[section.provider](section, workers)
    except (ValueError, GatewayError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigurationError(
            f"QPU {section.name} has wrong options for provider {section.provider}: {reason}."
        ) from error
