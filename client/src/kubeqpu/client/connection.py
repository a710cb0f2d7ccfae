"""How a client reaches its gateway: address, channel options, patience."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from kubeqpu.client import errors
from kubeqpu.client.credentials import Credentials, FilePath, find_credentials
from kubeqpu.client.settings import ClientSettings, read_settings

# A whole job travels in one message; the gateway has limits of its own and says so in words.
MAX_MESSAGE_BYTES = 512 * 1024 * 1024
# Jobs and QPUs are small; blobs and submissions of large jobs need the most.
CALL_TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 30.0

FIRST_DELAY_SECONDS = 0.05
LAST_DELAY_SECONDS = 2.0
HELD_SECONDS = 10.0

_HOST_PORT = re.compile(r"^(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})$")


@dataclass(frozen=True)
class Connection:
    """How to reach one gateway.

    Attributes:
        address: `host:port` or `unix:path`.
        default_qpu: QPU of jobs that name neither a QPU nor a class, or None.
        timeout_seconds: Deadline of every call but result streams, which end with their job.
        patience_seconds: How long to go on trying while the gateway is away.
        credentials: What TLS needs, or None to speak plainly.
    """

    address: str
    default_qpu: str | None = None
    timeout_seconds: float = CALL_TIMEOUT_SECONDS
    patience_seconds: float = PATIENCE_SECONDS
    credentials: Credentials | None = None

    def open_channel(self) -> grpc.Channel:
        """Opens a channel; it connects at its first call."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, options=self.channel_options())
        secure = self.credentials.for_channel()
        return grpc.secure_channel(self.address, secure, options=self.channel_options())

    def open_async_channel(self) -> grpc.aio.Channel:
        """Opens a channel of the running event loop; it connects at its first call."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, options=self.channel_options())
        secure = self.credentials.for_channel()
        return grpc.aio.secure_channel(self.address, secure, options=self.channel_options())

    def watch_token(self) -> Callable[[], bool]:
        """Gives what tells whether the token was replaced since now."""
        token = None if self.credentials is None else self.credentials.token
        if token is None:
            return lambda: False
        version = token.version()
        return lambda: token.version() not in {version, None}

    def channel_options(self) -> list[tuple[str, int]]:
        """Lists gRPC's options: message sizes, keepalive, quick reconnection."""
        return [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A stream may be silent for as long as a QPU's queue is; pings find a dead gateway.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.max_pings_without_data", 0),
            # A gateway is on this machine or in this cluster, never behind a proxy.
            ("grpc.enable_http_proxy", 0),
            # gRPC would wait up to two minutes between attempts; a restart takes seconds.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 2_000),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]


def find_gateway(
    address: str | None,
    qpu: str | None,
    timeout_seconds: float,
    patience_seconds: float,
    settings: ClientSettings | None = None,
    token_file: FilePath | None = None,
    ca_file: FilePath | None = None,
) -> Connection:
    """Completes what the caller gave from the environment.

    Raises:
        InvalidRequestError: If no address is known or it has the wrong form, or if TLS is needed
            and the gateway's authority is not known.
        AccessDeniedError: If there is a token file that cannot be read.
    """
    settings = read_settings() if settings is None else settings
    found = address or settings.gateway
    if not found:
        raise errors.InvalidRequestError(
            "No gateway is named: pass `address`, host:port or unix:path, or set KUBEQPU_GATEWAY "
            "(pods that hold a slot have it)."
        )
    checked = check_address(found)
    credentials = find_credentials(checked, token_file, ca_file, settings)
    return Connection(checked, qpu or settings.qpu, timeout_seconds, patience_seconds, credentials)


def check_address(address: str) -> str:
    """Returns the address if it has a known form.

    Raises:
        InvalidRequestError: If it is neither `host:port` nor `unix:path`.
    """
    if address.startswith("unix:") and len(address) > len("unix:"):
        return address
    match = _HOST_PORT.match(address)
    if match is None or not 0 < int(match.group(2)) < 65536:
        raise errors.InvalidRequestError(
            f"Gateway address is {address!r}; expected host:port, such as localhost:7070, or "
            "unix:path, such as unix:/run/kubeqpu/gateway.sock, without a scheme like http://."
        )
    return address


class Patience:
    """Back-off while a gateway is away: doubles from 50 ms to 2 s, with jitter, until time is up.

    Time runs from the first failure after progress. Sleeping is left to the caller, so that the
    same object serves sync and async clients.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._delay = FIRST_DELAY_SECONDS
        self._deadline: float | None = None
        self._attempt = clock()

    def renew(self) -> None:
        """Starts over: the gateway made progress."""
        self._delay = FIRST_DELAY_SECONDS
        self._deadline = None

    def next_delay(self) -> float | None:
        """Returns how many seconds to wait before the next attempt, or None when time is up."""
        now = self._clock()
        # No attempt to connect takes this long: a silent stream was open and broke only now.
        if now - self._attempt > HELD_SECONDS:
            self.renew()
        if self._deadline is None:
            self._deadline = now + self._seconds
        left = self._deadline - now
        if left <= 0:
            return None
        # Spreads the clients of one gateway after its restart; no secret depends on it.
        delay = min(self._delay * random.uniform(0.5, 1.0), left)  # noqa: S311
        self._delay = min(2 * self._delay, LAST_DELAY_SECONDS)
        self._attempt = now + delay
        return delay
