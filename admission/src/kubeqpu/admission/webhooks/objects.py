"""What is wrong with a QPUClass or a QPUQuota that its definition's own rules cannot say."""

import re
from collections.abc import Collection, Iterator
from datetime import datetime

from pydantic import ValidationError

from kubeqpu.admission.outlooks import Offer
from kubeqpu.admission.webhooks.drafts import Verdict
from kubeqpu.common import api
from kubeqpu.common.api.metadata import LabelSelector
from kubeqpu.common.classes import Classes
from kubeqpu.common.names import ANNOTATION_DEFAULT_CLASS
from kubeqpu.common.placement import LabelExpression, fits
from kubeqpu.common.requests import JSONObject

_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def validate_class(
    manifest: JSONObject, classes: Classes, offers: Collection[Offer], now: datetime
) -> Verdict:
    """Judges a class that is created or changed.

    Args:
        manifest: The class.
        classes: All classes as they are.
        offers: All QPUs.
        now: Against which calibrations' ages are taken, with time zone.
    """
    try:
        found = api.QPUClass.from_manifest(manifest)
        wanted = api.placement_class(found)
    except (ValidationError, ValueError) as error:
        return Verdict(refusal=f"QPUClass is not understood: {error}")
    faults = [*_check_mark(found), *_check_selector(found.spec.requirements.selector)]
    if faults:
        return Verdict(refusal="; ".join(faults))
    warnings = [*_check_default(found, classes), *_check_fallback(found, classes)]
    refusals = [fits(offer.qpu, wanted.requirements, now, wanted.name) for offer in offers]
    first = next((refusal for refusal in refusals if refusal is not None), None)
    if first is not None and None not in refusals:
        warnings.append(f"None of {len(refusals)} QPUs fits this class now. {first}")
    return Verdict(warnings=tuple(warnings))


def validate_quota(manifest: JSONObject) -> Verdict:
    """Judges a quota that is created or changed."""
    try:
        found = api.QPUQuota.from_manifest(manifest)
    except (ValidationError, ValueError) as error:
        return Verdict(refusal=f"QPUQuota is not understood: {error}")
    hard, used = found.spec.hard, found.status.used
    warnings = []
    for name, limit, spent in (
        ("qpuSeconds", hard.qpu_seconds, used.qpu_seconds),
        ("shots", hard.shots, used.shots),
        ("jobs", hard.jobs, used.jobs),
    ):
        if limit == 0:
            warnings.append(f"spec.hard.{name} is 0: no job can run in this namespace.")
        elif limit is not None and spent >= limit:
            warnings.append(
                f"spec.hard.{name} is {limit:g} and {spent:g} are used: new jobs wait until some "
                "have left the window."
            )
    return Verdict(warnings=tuple(warnings))


def _check_mark(found: api.QPUClass) -> Iterator[str]:
    mark = found.metadata.annotations.get(ANNOTATION_DEFAULT_CLASS)
    if mark not in (None, "true", "false"):
        yield (
            f'metadata.annotations[{ANNOTATION_DEFAULT_CLASS}] is {mark!r}; expected "true" or '
            '"false"'
        )


def _check_selector(selector: LabelSelector) -> Iterator[str]:
    where = "spec.requirements.selector"
    values: list[tuple[str, str, tuple[str, ...]]] = [
        (f"matchLabels[{key}]", key, (value,)) for key, value in selector.match_labels.items()
    ]
    values += [
        (f"matchExpressions[{index}]", item.key, item.values)
        for index, item in enumerate(selector.match_expressions)
    ]
    for part, key, texts in values:
        if not _is_label_key(key):
            yield f"{where}.{part}: {key!r} is no label key; expected one such as example.com/tier"
        for text in texts:
            if text and not _LABEL_NAME.fullmatch(text):
                yield f"{where}.{part}: {text!r} is no label value; no QPU can have it"
    for index, expression in enumerate(selector.match_expressions):
        wanted = selector.match_labels.get(expression.key)
        plain = LabelExpression(expression.key, expression.operator, frozenset(expression.values))
        if wanted is not None and not plain.holds({expression.key: wanted}):
            yield (
                f"{where}.matchExpressions[{index}] ({plain}) and matchLabels[{expression.key}] "
                f"({wanted!r}) exclude each other; remove one"
            )


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not _LABEL_PREFIX.fullmatch(prefix):
        return False
    return _LABEL_NAME.fullmatch(name) is not None


def _check_default(found: api.QPUClass, classes: Classes) -> Iterator[str]:
    others = [name for name in classes.defaults() if name != found.metadata.name]
    if others and found.metadata.annotations.get(ANNOTATION_DEFAULT_CLASS) == "true":
        yield (
            f"{', '.join(others)} is a default class too: of several, work that names no class "
            "gets the one that was created last."
        )


def _check_fallback(found: api.QPUClass, classes: Classes) -> Iterator[str]:
    for name in found.spec.fallback:
        other = classes.find(name)
        if other is None:
            yield f"spec.fallback names {name}, which does not exist yet; it is passed over."
        elif found.metadata.name in other.spec.fallback:
            yield f"spec.fallback names {name}, which falls back to this class itself."
