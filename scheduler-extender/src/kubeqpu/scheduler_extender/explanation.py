"""Why a pod was placed where it was: for programs as JSON, for people as a sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from pydantic import JsonValue

from kubeqpu.common.placement import PlacementClass, Score, score
from kubeqpu.scheduler_extender.decisions import Passed
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Question
from kubeqpu.scheduler_extender.tables import Table


@dataclass(frozen=True, slots=True)
class Choice:
    """A node that a pod may be placed on.

    Attributes:
        node: Its name.
        total: Its score.
        qpus: The QPU that it owes that to, for each question.
    """

    node: str
    total: float
    qpus: tuple[SeenQPU, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a pod, with all that it was decided from.

    Attributes:
        decided_at: When, with time zone.
        questions: What the pod asked.
        wanted: The class.
        nodes: The nodes that it may be placed on, best first.
        totals: Their scores.
        qpus: The QPUs that they owe those to, for each question; None where there is none.
        considered: How many nodes were asked about.
        passing: How many passed.
        anew: Whether it was made after the pod was bound, for no earlier one is known.
    """

    decided_at: datetime
    questions: tuple[Question, ...]
    wanted: PlacementClass | None
    nodes: tuple[str, ...]
    totals: tuple[float, ...]
    qpus: tuple[tuple[SeenQPU | None, ...], ...]
    considered: int
    passing: int
    anew: bool = False

    def choices(self) -> Iterator[Choice]:
        """Yields the nodes that it may be placed on, best first.

        They are made when asked for: of most decisions two are looked at, of 65.
        """
        for node, total, found in zip(
            self.nodes, self.totals, zip(*self.qpus, strict=True), strict=True
        ):
            qpus = tuple(seen for seen in found if seen is not None)
            yield Choice(node, total, qpus if len(qpus) == len(found) else ())

    def choice(self, node: str) -> Choice | None:
        """Gives a node that it may be placed on; None for any other."""
        return next((item for item in self.choices() if item.node == node), None)

    def keep(self, choices: Sequence[Choice]) -> "Decision":
        """Keeps some of the nodes that it may be placed on."""
        return replace(
            self,
            nodes=tuple(item.node for item in choices),
            totals=tuple(item.total for item in choices),
            qpus=tuple(
                tuple(item.qpus[place] if item.qpus else None for item in choices)
                for place in range(len(self.questions))
            ),
        )


@dataclass(frozen=True)
class Explanation:
    """Why a pod was placed where it was.

    Attributes:
        annotation: As JSON.
        sentence: For people.
    """

    annotation: str
    sentence: str


def keep_decision(tables: Sequence[Table], passed: Passed, now: datetime) -> Decision:
    """Keeps what is needed to explain an answer later, when the data has moved on."""
    nodes, totals = passed.nodes, passed.totals
    if passed.next_best:
        nodes = (*nodes, passed.next_best)
        totals = (*totals, min(table.total_of(passed.next_best) for table in tables))
    return Decision(
        decided_at=now,
        questions=tuple(table.question for table in tables),
        wanted=tables[0].wanted,
        nodes=nodes,
        totals=totals,
        qpus=tuple(tuple(table.best_qpus(nodes)) for table in tables),
        considered=passed.considered,
        passing=passed.passing,
    )


def decide_anew(tables: Sequence[Table], node: str, now: datetime) -> Decision:
    """Makes up for a decision that is not known any more, for the node that it chose."""
    total = max(0.0, min(table.total_of(node) for table in tables))
    return Decision(
        decided_at=now,
        questions=tuple(table.question for table in tables),
        wanted=tables[0].wanted,
        nodes=(node,),
        totals=(total,),
        qpus=tuple(tuple(table.best_qpus([node])) for table in tables),
        considered=1,
        passing=1,
        anew=True,
    )


def narrow(decision: Decision, node: str) -> Decision | None:
    """Keeps of a decision what tells why a pod is on a node; None if it does not."""
    chosen = decision.choice(node)
    if chosen is None:
        return None
    seconds = (_find_runner_up(decision, chosen, place) for place in range(len(chosen.qpus)))
    return decision.keep([chosen, *(item for item in seconds if item is not None)])


def explain(decision: Decision, node: str) -> Explanation | None:
    """Explains why a pod was placed on a node; None if the decision says nothing about it."""
    chosen = decision.choice(node)
    if chosen is None or decision.wanted is None or not chosen.qpus:
        return None
    scores = [
        _score(seen, decision, question)
        for seen, question in zip(chosen.qpus, decision.questions, strict=True)
    ]
    # The smallest decided.
    place = min(range(len(scores)), key=lambda index: scores[index].total)
    others = [index for index in range(len(scores)) if index != place]
    second = _find_runner_up(decision, chosen, place)
    seen, best = chosen.qpus[place], scores[place]
    data_age = (decision.decided_at - seen.seen_at).total_seconds()
    content: dict[str, JsonValue] = {
        "node": node,
        "qpu": best.qpu,
        "class": decision.wanted.name,
        "resource": decision.questions[place].demand.resource,
        "score": _round(best.total),
        "parts": {
            "wait": _round(best.wait),
            "fidelity": _round(best.fidelity),
            "freshness": _round(best.freshness),
            "utilisation": _round(best.utilisation),
        },
        "considered": decision.considered,
        "passing": decision.passing,
        "dataAgeSeconds": round(max(0.0, data_age), 1),
        "decidedAt": decision.decided_at.isoformat(timespec="milliseconds"),
    }
    if seen.plain.calibration is not None:
        age = (decision.decided_at - seen.plain.calibration.time).total_seconds()
        content["calibrationAgeSeconds"] = round(age)
    if second is not None:
        content["runnerUp"] = {
            "node": second.node,
            "qpu": second.qpus[place].plain.name,
            "score": _round(second.total),
        }
    if others:
        content["others"] = [
            {
                "resource": decision.questions[index].demand.resource,
                "qpu": scores[index].qpu,
                "score": _round(scores[index].total),
            }
            for index in others
        ]
    if decision.anew:
        content["decidedAnew"] = True
    sentence = _tell(decision, node, best, second, place, data_age)
    return Explanation(orjson.dumps(content).decode(), sentence)


def _tell(
    decision: Decision,
    node: str,
    best: Score,
    second: Choice | None,
    place: int,
    data_age_seconds: float,
) -> str:
    class_name = decision.wanted.name if decision.wanted else ""
    text = (
        f"QPU {best.qpu} on node {node} scored {best.total:.3f} of 1 for class {class_name} "
        f"(wait {best.wait:.2f}, fidelity {best.fidelity:.2f}, freshness {best.freshness:.2f}, "
        f"free slots {best.utilisation:.2f})"
    )
    if decision.anew:
        text += ", judged after it was bound, for no earlier judgement is known"
    elif second is not None:
        relation = "ahead of" if second.total <= best.total else "behind"
        text += (
            f", {relation} QPU {second.qpus[place].plain.name} on node {second.node} at "
            f"{second.total:.3f}"
        )
    if not decision.anew:
        text += f"; {decision.passing} of {decision.considered} nodes passed"
    return f"{text}; the QPU was last heard of {max(0.0, data_age_seconds):.0f} s before."


def _find_runner_up(decision: Decision, chosen: Choice, place: int) -> Choice | None:
    """Finds the best other node with another QPU, or with the same if there is no other."""
    name = chosen.qpus[place].plain.name
    same_qpu: Choice | None = None
    for item in decision.choices():
        if item.node == chosen.node or not item.qpus:
            continue
        if item.qpus[place].plain.name != name:
            return item
        same_qpu = same_qpu or item
    return same_qpu


def _score(seen: SeenQPU, decision: Decision, question: Question) -> Score:
    wanted = decision.wanted or PlacementClass()
    return score(seen.plain, wanted.weights, question.shape or wanted.shape, decision.decided_at)


def _round(value: float) -> float:
    return float(f"{value:.4g}")
