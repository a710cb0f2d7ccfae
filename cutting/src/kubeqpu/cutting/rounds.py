"""What is asked and what is known of one fragment, over the rounds of a run."""

import hashlib
from collections.abc import Sequence

import numpy as np
from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting.errors import ExecutionError
from kubeqpu.cutting.executors import SamplerAnswer, SamplerEntry, SamplerTask, Site
from kubeqpu.cutting.experiments import Experiments, IntArray
from kubeqpu.cutting.fragments import dump_circuits
from kubeqpu.cutting.histograms import Histogram, ReadoutError, merge
from kubeqpu.cutting.reconstruction import FragmentSamples


def fragment_seed(seed: int, fragment: int, round_number: int) -> int:
    """Derives the seed of one job; never from content, so that equal fragments are independent."""
    text = f"kubeqpu-cutting/{seed}/{fragment}/{round_number}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


class FragmentRounds:
    """Makes a fragment's tasks and pools their answers.

    Attributes:
        experiments: The fragment's experiments.
        site: Where it runs.
        answers: What came back, per round.
    """

    def __init__(
        self, fragment: int, experiments: Experiments, site: Site, seed: int, with_readout: bool
    ) -> None:
        """Prepares the fragment's circuits.

        Args:
            fragment: Its index.
            experiments: Its experiments.
            site: Where it runs.
            seed: Seed of the whole run.
            with_readout: Whether the confusion of its classical bits is wanted.
        """
        self.experiments, self.site = experiments, site
        self.answers: list[SamplerAnswer] = []
        self._fragment, self._seed, self._with_readout = fragment, seed, with_readout
        templates = experiments.templates
        self._circuits = dump_circuits(templates) if templates else b""
        self._qubits = tuple(_measured_qubits(template) for template in templates)
        self._parts: list[list[Histogram]] = [[] for _ in experiments.blocks]
        self._readout: list[tuple[ReadoutError, ...]] = [() for _ in experiments.blocks]
        self._kept: list[tuple[int, IntArray]] = []

    def ask(self, shots: Sequence[IntArray]) -> SamplerTask | None:
        """Makes the task of the next round.

        Args:
            shots: Shots of each row, per block; rows with none are left out.

        Returns:
            The task, or None if there is nothing to run.
        """
        self._kept, entries = [], []
        for number, (block, counts) in enumerate(zip(self.experiments.blocks, shots, strict=True)):
            rows = np.flatnonzero(counts)
            if len(rows):
                entries.append(SamplerEntry(block.template, block.parameters[rows], counts[rows]))
                self._kept.append((number, rows))
        if not entries:
            return None
        return SamplerTask(
            fragment=self._fragment,
            qpu=self.site.qpu,
            circuits=self._circuits,
            entries=tuple(entries),
            seed=fragment_seed(self._seed, self._fragment, len(self.answers)),
            measured_qubits=self._qubits,
            with_readout=self._with_readout,
        )

    def keep(self, answer: SamplerAnswer) -> None:
        """Pools the answer to the last task.

        Raises:
            ExecutionError: If it does not belong to that task.
        """
        expected = len(self._kept) if self._with_readout else len(answer.readout)
        if len(answer.histograms) != len(self._kept) or len(answer.readout) != expected:
            raise ExecutionError(
                f"Fragment {self._fragment} was given {len(self._kept)} entries, but "
                f"{len(answer.histograms)} results and {len(answer.readout)} readout errors came "
                "back."
            )
        for entry, ((block, rows), histogram) in enumerate(
            zip(self._kept, answer.histograms, strict=True)
        ):
            part = Histogram(rows[histogram.rows], histogram.outcomes, histogram.counts)
            self._parts[block].append(part)
            if self._with_readout and not self._readout[block]:
                self._readout[block] = answer.readout[entry]
        self.answers.append(answer)

    def shots(self) -> list[IntArray]:
        """Returns the shots of each row so far, per block."""
        return [
            merge(parts).shots(len(block.settings))
            for block, parts in zip(self.experiments.blocks, self._parts, strict=True)
        ]

    def samples(self) -> FragmentSamples:
        """Returns what was measured so far."""
        return FragmentSamples(
            tuple(merge(parts) for parts in self._parts),
            tuple(self._readout) if self._with_readout else None,
        )


def _measured_qubits(template: QuantumCircuit) -> tuple[int, ...]:
    found = {
        template.find_bit(item.clbits[0]).index: template.find_bit(item.qubits[0]).index
        for item in template.data
        if item.operation.name == "measure"
    }
    return tuple(found[bit] for bit in range(template.num_clbits))
