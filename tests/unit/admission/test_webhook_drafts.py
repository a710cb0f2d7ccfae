"""Drafts and their patches say the same."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.webhooks.drafts import Draft
from tests.unit.admission.webhook_objects import Object, apply_patch

KEYS = st.sampled_from(["a", "b~1", "c/d", "~0"])
VALUES = st.sampled_from([None, "x", {"a": None}, {"list": ["x"]}])
OBJECTS: st.SearchStrategy[Object] = st.dictionaries(
    KEYS, st.dictionaries(KEYS, st.none() | st.just({})) | st.none()
)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "append"]), KEYS, KEYS, VALUES), max_size=8)


@given(OBJECTS, STEPS)
def test_a_patch_makes_of_the_object_what_the_draft_is(
    manifest: Object, steps: list[tuple[str, str, str, Any]]
) -> None:
    before = copy.deepcopy(manifest)
    draft = Draft(manifest)
    for verb, outer, inner, value in steps:
        if verb == "put":
            draft.put((outer, inner), value)
        else:
            draft.append((outer, f"list of {inner}"), value)
    assert manifest == before
    assert apply_patch(manifest, draft.operations) == draft.manifest
    for verb, outer, inner, value in steps:
        if verb == "append":
            assert value in draft.manifest[outer][f"list of {inner}"]  # type: ignore[operator,index,call-overload]


def test_what_is_there_already_is_no_operation() -> None:
    draft = Draft({"metadata": {"labels": {"a": "b"}}})
    draft.put(("metadata", "labels", "a"), "b")
    assert draft.operations == ()
