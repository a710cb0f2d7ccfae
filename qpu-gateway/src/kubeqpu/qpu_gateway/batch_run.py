"""One batch on its way through the provider into the store."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway import batches, merging
from kubeqpu.qpu_gateway.errors import GatewayError, ProviderError
from kubeqpu.qpu_gateway.providers.base import Batch, Span
from kubeqpu.qpu_gateway.saver import Saver
from kubeqpu.qpu_gateway.store import StoredChunk

Save = Callable[[list[StoredChunk], float], Awaitable[None]]
Run = Callable[[Batch], AsyncIterator[gateway_pb2.ResultChunk]]


class BatchRun:
    """Runs one batch once.

    Args:
        batch: What to run.
        copies: Rows that share the results of rows of the batch.
        save: Stores chunks durably, with the seconds the QPU was busy to make them.

    Attributes:
        rows: Rows of the batch.
        seconds: How long the provider took, once it is done.
    """

    def __init__(
        self,
        batch: Batch,
        copies: Mapping[merging.Row, Sequence[merging.Row]],
        save: Save,
    ) -> None:
        self._batch = batch
        self._copies = copies
        self._save_chunks = save
        self._returned = batches.Coverage(batch.spans)
        self._saved = batches.Coverage(batch.spans)
        self._saver = Saver(self._save)
        self._last = time.perf_counter()
        self.rows = batches.count_rows(batch.spans)
        self.seconds = 0.0

    async def iterate(self, run: Run) -> None:
        """Takes what the provider returns; the last results may still be on their way to disk.

        Raises:
            GatewayError: What the provider or the store raised.
        """
        start = self._last = time.perf_counter()
        chunks = run(self._batch)
        try:
            async for chunk in chunks:
                span = Span(chunk.entry, chunk.first_row, chunk.rows)
                self._returned.accept(span)
                await self._saver.add(self._with_copies(span, chunk))
        finally:
            # An iterator that is left early ends its work when it is closed.
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
            self.seconds = time.perf_counter() - start

    async def finish(self) -> None:
        """Waits until all results are stored.

        Raises:
            ProviderError: If results of some rows are missing.
        """
        await self._saver.finish()
        missing = batches.count_rows(self._returned.missing())
        if missing:
            raise ProviderError(
                f"The provider returned no results for {missing} circuits of a batch of "
                f"{self.rows}; this is an error of the provider, please report it."
            )

    async def settle(self) -> list[Span]:
        """Stores what can be stored of a batch that was interrupted.

        Returns:
            The rows of the batch without stored results.
        """
        with contextlib.suppress(GatewayError):
            await self._saver.finish()
        return self._saved.missing()

    def _with_copies(self, span: Span, chunk: gateway_pb2.ResultChunk) -> list[StoredChunk]:
        found = [StoredChunk(span, chunk.SerializeToString())]
        if self._copies:
            for copy in merging.copy_results(self._batch.spec, chunk, self._copies):
                where = Span(copy.entry, copy.first_row, copy.rows)
                found.append(StoredChunk(where, copy.SerializeToString()))
        return found

    async def _save(self, chunks: list[StoredChunk]) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        await self._save_chunks(chunks, seconds)
        for chunk in chunks:
            # Copies lie outside the batch.
            with contextlib.suppress(ProviderError):
                self._saved.accept(chunk.span)
