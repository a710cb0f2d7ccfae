"""Events are as the API server takes them, whatever they are about."""

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.kube.events import Regarding, Reporter, write_event

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAMES = st.from_regex(SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253)
ME = Reporter("kubeqpu.io/controller", "one")


@given(name=NAMES | st.just("a" * 199 + "-" + "b" * 53), note=st.text(max_size=2000))
def test_names_and_lengths_are_within_the_limits(name: str, note: str) -> None:
    about = Regarding("v1", "Pod", name, "uid", "lab")
    made = write_event(
        about, Reporter("kubeqpu.io/controller", name), reason="R", action="A", note=note
    )
    metadata = made["metadata"]
    assert isinstance(metadata, dict)
    written = str(metadata["name"])
    assert SUBDOMAIN.fullmatch(written)
    assert len(written) <= 253
    assert len(str(made["note"])) <= 1024
    assert len(str(made["reportingInstance"])) <= 128


def test_an_event_lives_where_its_object_does() -> None:
    pod = Regarding("v1", "Pod", "p", "uid-p", "lab")
    told = write_event(pod, ME, reason="Placed", action="Placing", note="It is on node a.")
    metadata = told["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["namespace"] == "lab"
    assert told["regarding"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "lab", "name": "p", "uid": "uid-p",
    }  # fmt: skip
    assert told["type"] == "Normal"
    time = datetime.strptime(str(told["eventTime"]), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - time).total_seconds()) < 60


def test_one_about_an_object_without_namespace_lives_in_default() -> None:
    qpu = Regarding("kubeqpu.io/v1alpha1", "QPU", "fez", "uid-fez")
    told = write_event(qpu, ME, reason="R", action="A", note="", is_warning=True)
    metadata, regarding = told["metadata"], told["regarding"]
    assert isinstance(metadata, dict)
    assert isinstance(regarding, dict)
    assert metadata["namespace"] == "default"
    assert "namespace" not in regarding
    assert told["type"] == "Warning"
