"""Statements on slots and on the jobs of their holders. Each works in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from kubeqpu.qpu_gateway.jobs import UNFINISHED_STATES, Submitter
from kubeqpu.qpu_gateway.slots.slot import Holding, Slot
from kubeqpu.qpu_gateway.store.schema import JOBS, SLOTS

_UNFINISHED = JOBS.c.state.in_(sorted(UNFINISHED_STATES))
_SUBMITTER = (JOBS.c.tenant, JOBS.c.pod, JOBS.c.pod_uid, JOBS.c.qpu)


def read_slots(connection: sa.Connection) -> list[Slot]:
    """Reads all slots."""
    return [
        Slot(
            qpu=row.qpu,
            number=row.number,
            node=row.node,
            generation=row.generation,
            holding=Holding(row.namespace, row.pod, row.container, row.pod_uid, row.pinned_at)
            if row.pod
            else None,
        )
        for row in connection.execute(sa.select(SLOTS).order_by(SLOTS.c.qpu, SLOTS.c.number))
    ]


def save_slots(connection: sa.Connection, slots: Sequence[Slot]) -> None:
    """Stores slots, in place of what was stored of them."""
    if not slots:
        return
    same = (SLOTS.c.qpu == sa.bindparam("old_qpu"), SLOTS.c.number == sa.bindparam("old_number"))
    keys = [{"old_qpu": slot.qpu, "old_number": slot.number} for slot in slots]
    connection.execute(SLOTS.delete().where(*same), keys)
    connection.execute(SLOTS.insert(), [_row(slot) for slot in slots])


def list_submitters(connection: sa.Connection) -> list[Submitter]:
    """Lists the pods with unfinished jobs that end with them."""
    query = sa.select(*_SUBMITTER).where(_UNFINISHED, JOBS.c.follows_pod).distinct()
    return [Submitter(*row) for row in connection.execute(query)]


def list_followers(connection: sa.Connection, submitter: Submitter) -> list[str]:
    """Lists the ids of a pod's unfinished jobs that end with it."""
    wanted = asdict(submitter)
    query = sa.select(JOBS.c.id).where(
        _UNFINISHED, JOBS.c.follows_pod, *(JOBS.c[name] == wanted[name] for name in wanted)
    )
    return list(connection.execute(query.order_by(JOBS.c.sequence)).scalars())


def _row(slot: Slot) -> dict[str, object]:
    holding = slot.holding or Holding("", "")
    return {
        "qpu": slot.qpu,
        "number": slot.number,
        "node": slot.node,
        "generation": slot.generation,
        "namespace": holding.namespace,
        "pod": holding.pod,
        "container": holding.container,
        "pod_uid": holding.uid,
        "pinned_at": holding.pinned_at,
    }
