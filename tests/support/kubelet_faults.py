"""What can go wrong with the kubelet's stand-in."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from tests.support.kubelet import Pod


@dataclass
class Faults:
    """What goes wrong; a test changes it as it goes.

    Attributes:
        refuse_register: How many registrations are refused from now on.
        hang_register: Register does not return.
        ignore_plugin: After Register, no list is asked for.
        hang_stream: Lists are asked for and not received.
        old_disconnects_new: The end of an old plugin's stream disconnects the new one.
        empty_seconds: How long after a start no holders are listed.
        list_error: What Lists end with.
        hang_lists: Lists are not answered.
        finished_pods: Pods that have ended and are listed all the same, before all others.
        list_seconds: How long a List takes.
        allocate_seconds: How long giving away takes after the plugin answered.
    """

    refuse_register: int = 0
    hang_register: bool = False
    ignore_plugin: bool = False
    hang_stream: bool = False
    old_disconnects_new: bool = True
    empty_seconds: float = 0.0
    list_error: grpc.StatusCode | None = None
    hang_lists: bool = False
    finished_pods: "list[Pod]" = field(default_factory=list)
    list_seconds: float = 0.0
    allocate_seconds: float = 0.0


async def until_off(is_on: Callable[[], bool]) -> None:
    """Waits until a fault is over."""
    while is_on():  # noqa: ASYNC110 - a plain switch
        await asyncio.sleep(0.01)


class TokenBucket:
    """Limits a rate.

    Args:
        burst: How much may come at once.
        per_second: How much may come in the long run.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._tokens = float(burst)
        self._at = time.monotonic()

    def take(self) -> bool:
        """Takes a token, if there is one."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
