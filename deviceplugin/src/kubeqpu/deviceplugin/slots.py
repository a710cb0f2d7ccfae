"""Slots as a gateway offers them, and what makes an offer unacceptable."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kubeqpu.common import names

MAX_ID_LENGTH = 63
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# Goes into a container's environment, where commas part several of them.
_ENDPOINT = re.compile(r"[^\s,]+:[0-9]{1,5}")


class Cause(StrEnum):
    """Why a slot was refused."""

    MALFORMED = "malformed"
    RESOURCE = "resource"
    CONFLICT = "conflict"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of this node, as its gateway last described it.

    Attributes:
        id: Device ID, `<qpu>-<n>`.
        qpu: Name of the QPU.
        resource_name: Extended resource that offers it.
        healthy: Whether it can be given to pods.
        reason: Why not, in words.
        generation: Rises whenever the slot moves to another node.
        score: Placement score from 0 to 1, higher is better.
    """

    id: str
    qpu: str
    resource_name: str
    healthy: bool = True
    reason: str = ""
    generation: int = 0
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Offer:
    """All slots of one gateway on this node.

    Attributes:
        gateway: Name of the gateway.
        endpoint: host:port of its Service, for the containers.
        slots: The slots; they replace those offered before.
    """

    gateway: str
    endpoint: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A slot that was offered and is not listed.

    Attributes:
        slot: Its ID.
        cause: Kind of the reason.
        text: The reason, in words.
    """

    slot: str
    cause: Cause
    text: str


def check_slot(slot: Slot) -> Refusal | None:
    """Finds what is wrong with a slot by itself; None if nothing is."""
    qpu, _, number = slot.id.rpartition("-")
    well_named = _NAME.fullmatch(slot.qpu) and qpu == slot.qpu and number.isascii()
    if not (well_named and number.isdigit() and len(slot.id) <= MAX_ID_LENGTH):
        return Refusal(
            slot.id,
            Cause.MALFORMED,
            f"ID {slot.id!r} of a slot of QPU {slot.qpu!r} is malformed; expected the QPU's name, "
            f"a dash and a number, at most {MAX_ID_LENGTH} characters.",
        )
    if slot.resource_name not in names.RESOURCES:
        return Refusal(
            slot.id,
            Cause.RESOURCE,
            f"Resource {slot.resource_name!r} of slot {slot.id} is not kubeqpu's; expected "
            f"{', '.join(names.RESOURCES)}.",
        )
    return None


def check_offer(offer: Offer) -> str | None:
    """Finds what makes an offer meaningless as a whole; None if nothing does."""
    if not offer.gateway:
        return "The answer does not say which gateway it comes from."
    if not _ENDPOINT.fullmatch(offer.endpoint):
        return f"Endpoint {offer.endpoint!r} of gateway {offer.gateway} is not host:port."
    return None


def slot_order(slot: str) -> tuple[str, int, str]:
    """Orders IDs by QPU, then by number: `fez-2` stands before `fez-10`."""
    qpu, _, number = slot.rpartition("-")
    return qpu, int(number) if number.isascii() and number.isdigit() else -1, slot


def qpu_of(slot: str) -> str:
    """Tells the QPU from the ID of a slot that nobody described."""
    return slot.rpartition("-")[0] or slot


def sort_slots(slots: Iterable[str]) -> list[str]:
    """Sorts IDs by QPU and number."""
    return sorted(slots, key=slot_order)
