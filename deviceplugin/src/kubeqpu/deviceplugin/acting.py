"""Whether this process acts on its node, as of now."""

import asyncio

import structlog

from kubeqpu.deviceplugin.board import Signal
from kubeqpu.deviceplugin.loops import Report
from kubeqpu.deviceplugin.ownership import Ownership
from kubeqpu.deviceplugin.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)
_LOOK_SECONDS = 0.25


class Acting:
    """Follows the ownership, and tells those whom a change concerns.

    Where the folder cannot be written, it acts: two that push lists are better than none.

    Args:
        ownership: This process's part in it.
        telemetry: Counts failures.

    Attributes:
        changed: Its version rises whenever `acts` changed.
        acts: Whether this process acts.
    """

    def __init__(self, ownership: Ownership, telemetry: Telemetry) -> None:
        self._ownership = ownership
        self._telemetry = telemetry
        self._report = Report("Ownership was not written", "Ownership is written again")
        self.changed = Signal()
        self.acts = False
        self._acted = False

    @property
    def is_superseded(self) -> bool:
        """Whether it acted and another does now."""
        return self._acted and not self.acts

    async def until_not_superseded(self) -> None:
        """Waits while another process acts in this one's place."""
        while self.is_superseded:
            await self.changed.wait_beyond(self.changed.version)

    def start(self) -> None:
        """Acts from now on: an older process falls silent."""
        try:
            self._ownership.take()
        except OSError as error:
            self._fail(error)
        self._set(True)

    def stop(self) -> None:
        """Acts no more; an older process that still lives may."""
        self._ownership.release()
        self._set(False)

    def check(self) -> bool:
        """Tells whether this process acts, from the file itself."""
        if not self.acts:
            return False
        try:
            ours = self._ownership.is_ours()
        except OSError as error:
            self._fail(error)
            return True
        self._report.succeed()
        if not ours and self._ownership.holds:
            self._set(False)
            _LOG.warning("Superseded by another device plugin")
        return self.acts

    async def run(self) -> None:
        """Follows the file until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self.acts:
                self._retry()
                self.check()
                continue
            try:
                taken = self._ownership.take_from_dead()
            except OSError as error:
                self._fail(error)
                continue
            if taken:
                _LOG.warning("Took over from a device plugin that ended")
                self._set(True)

    def _retry(self) -> None:
        """Writes the file later, where it could not be written at first."""
        if not self._ownership.holds:
            try:
                self._ownership.take()
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._telemetry.fail("ownership", _LOOK_SECONDS)
        self._report.fail(str(error))

    def _set(self, acts: bool) -> None:
        if acts != self.acts:
            self.acts = acts
            self._acted = True
            self.changed.raise_version()
