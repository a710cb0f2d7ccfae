"""All QPUs, in the form that decisions are made from."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from kubeqpu.scheduler_extender.columns import Columns
from kubeqpu.scheduler_extender.groups import NodeGroups
from kubeqpu.scheduler_extender.qpus import SeenQPU


class Fleet:
    """The QPUs with a row for each, and the nodes that have their slots.

    Attributes:
        version: Grows with every change.
        columns: The QPUs' figures by row.
    """

    def __init__(self) -> None:
        self.version = 0
        self.columns = Columns()
        self._rows: dict[str, int] = {}
        self._seen: list[SeenQPU | None] = []
        self._unused: list[int] = []
        self._groups: dict[str, NodeGroups] = {}
        # Rows by the version at which they last changed, the oldest first.
        self._changes: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> int:
        """How many rows there are, used or not."""
        return len(self._seen)

    def at(self, row: int) -> SeenQPU | None:
        """Gives the QPU of a row; None for an unused one."""
        return self._seen[row]

    def groups(self, resource: str) -> NodeGroups:
        """Gives the nodes that have slots of a resource."""
        found = self._groups.get(resource)
        if found is None:
            found = self._groups[resource] = NodeGroups()
        return found

    def changed_since(self, version: int) -> Iterator[int]:
        """Yields the rows that changed after a version."""
        for row, changed_at in reversed(self._changes.items()):
            if changed_at <= version:
                return
            yield row

    def put(self, seen: SeenQPU) -> None:
        """Takes a QPU that was made or changed."""
        row = self._rows.get(seen.plain.name)
        if row is None:
            row = self._make(seen.plain.name)
        old = self._seen[row]
        self._seen[row] = seen
        if old is None or old.differs(seen):
            self._move(row, old, seen)
            self.columns.write(row, seen.plain)
            self._note(row)

    def drop(self, name: str) -> None:
        """Forgets a QPU."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        self._move(row, self._seen[row], None)
        self._seen[row] = None
        self._unused.append(row)
        self._note(row)

    def keep(self, names: Iterable[str]) -> None:
        """Forgets all QPUs but these."""
        for name in set(self._rows) - set(names):
            self.drop(name)

    def _make(self, name: str) -> int:
        if self._unused:
            row = self._unused.pop()
        else:
            row = len(self._seen)
            self._seen.append(None)
        self._rows[name] = row
        return row

    def _move(self, row: int, old: SeenQPU | None, new: SeenQPU | None) -> None:
        before = {(old.resource, node): free for node, free in old.nodes.items()} if old else {}
        after = {(new.resource, node): free for node, free in new.nodes.items()} if new else {}
        for resource, node in before.keys() - after.keys():
            self.groups(resource).drop(node, row)
        for (resource, node), free in after.items():
            if before.get((resource, node)) != free:
                self.groups(resource).put(node, row, free)

    def _note(self, row: int) -> None:
        self.version += 1
        self._changes[row] = self.version
        self._changes.move_to_end(row)
