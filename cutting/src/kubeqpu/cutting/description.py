"""Says what a plan costs, before anything runs."""

from kubeqpu.cutting.plans import Plan

# Reset, rotate, measure and wait: the repetition time of current superconducting QPUs.
REPETITION_SECONDS = 300e-6
_EXPENSIVE = 1000.0


def describe(
    plan: Plan, shots: int = 100_000, repetition_seconds: float = REPETITION_SECONDS
) -> str:
    """Describes a plan to a person.

    Args:
        plan: The plan.
        shots: Budget over all fragments.
        repetition_seconds: How long one shot takes.
    """
    if not plan.cuts:
        lines = [f"The circuit needs no cuts ({plan.num_qubits} qubits)."]
    else:
        lines = [
            f"{len(plan.cuts)} cut{'s' if len(plan.cuts) > 1 else ''}, "
            f"{len(plan.fragments)} fragments, κ² = "
            f"{plan.kappa_squared:,.1f} (found by: {plan.method})"
        ]
        lines += [
            f"  cut {number}: {cut.name} on qubit{'s' if len(cut.qubits) > 1 else ''} "
            f"{', '.join(map(str, cut.qubits))}, κ = {cut.kappa:.2f}"
            for number, cut in enumerate(plan.cuts)
        ]
    for fragment, rows in zip(plan.fragments, plan.rows, strict=True):
        lines.append(
            f"  fragment {fragment.index}: {fragment.num_qubits} qubits "
            f"(of {_ranges(fragment.wires)}), {fragment.two_qubit_gates} two-qubit gates, "
            f"{rows} local experiments"
        )
    lines.append(
        f"{sum(plan.rows)} local experiments; with {shots:,} shots a standard error of about "
        f"{plan.predict_standard_error(shots):.3f} per Pauli observable and "
        f"{shots * repetition_seconds:,.0f} QPU seconds"
    )
    lines += _judge(plan)
    return "\n".join(lines)


def _judge(plan: Plan) -> list[str]:
    """Says when cutting does not pay."""
    if not plan.cuts:
        return []
    lines = []
    if max(plan.limits) >= plan.num_qubits:
        lines.append(
            f"Cutting does not pay for width: a QPU of {max(plan.limits)} qubits takes the whole "
            "circuit. It can still pay if smaller QPUs are better or free sooner."
        )
    if plan.kappa_squared >= _EXPENSIVE:
        lines.append(
            f"Cutting is expensive here: {plan.kappa_squared:,.0f} times the shots of the uncut "
            "circuit for the same error. A wider QPU or a shallower circuit is the better way."
        )
    return lines


def _ranges(wires: tuple[int, ...]) -> str:
    """Writes sorted qubits briefly: 0-6, 8."""
    parts: list[list[int]] = []
    for wire in wires:
        if parts and wire == parts[-1][-1] + 1:
            parts[-1].append(wire)
        else:
            parts.append([wire])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
