"""Decides what a container that gets slots is told: its environment, and nothing else."""

from collections.abc import Iterable

from kubeqpu.common import names
from kubeqpu.deviceplugin.errors import UnknownSlotError
from kubeqpu.deviceplugin.ledger import Entry, Ledger
from kubeqpu.deviceplugin.slots import sort_slots
from kubeqpu.deviceplugin.verdicts import Word


def allocate_slots(ledger: Ledger, resource: str, slots: Iterable[str]) -> dict[str, str]:
    """Gives the environment of a container that gets slots.

    Several slots stand in one order in all variables, parted by commas; the gateway stands there
    once where it is the same for all. The gateway of a slot that is held, but that none offered
    since this process started, is left out.

    Args:
        ledger: What is known of slots.
        resource: Extended resource that was asked for.
        slots: IDs that the kubelet chose, in any order.

    Raises:
        UnknownSlotError: If one of them is not there, or no longer.
    """
    entries = [_find(ledger, resource, slot) for slot in sort_slots(set(slots))]
    gateways = [endpoint for entry in entries if (endpoint := ledger.endpoint(entry))]
    environment = {
        names.ENV_QPU: ",".join(entry.qpu for entry in entries),
        names.ENV_SLOT: ",".join(entry.id for entry in entries),
    }
    if gateways:
        together = gateways[:1] if len(set(gateways)) == 1 else gateways
        environment[names.ENV_GATEWAY] = ",".join(together)
    return environment


def _find(ledger: Ledger, resource: str, slot: str) -> Entry:
    entry = ledger.entries(resource).get(slot)
    if entry is None:
        raise UnknownSlotError(
            f"No slot {slot!r} of {resource} was ever on this node; make the pod again, and look "
            "at the device plugin's log if that repeats."
        )
    if ledger.is_held(slot):
        return entry
    if entry.word is not Word.OFFERED:
        raise UnknownSlotError(
            f"Slot {slot} of {resource} cannot be given away: {entry.verdict.reason} Make the pod "
            "again; it gets another slot."
        )
    return entry
