"""What kube-scheduler sends and expects: bytes in and out, plain data between.

The names are those of Go, for the scheduler's types have no others (`kube-scheduler/extender/v1`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from pydantic import JsonValue

from kubeqpu.common.requests import find_resources
from kubeqpu.scheduler_extender.errors import MalformedRequestError

JSONObject = dict[str, JsonValue]


@dataclass(frozen=True)
class Pod:
    """A pod, as far as decisions need it.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        uid: Its uid.
        annotations: Its annotations.
        resources: The resources of ours that it asks for.
    """

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    resources: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Request:
    """Arguments of filter and prioritize."""

    pod: Pod
    nodes: Sequence[str]


@dataclass(frozen=True)
class PreemptRequest:
    """Arguments of preempt.

    Attributes:
        pod: The pod that others would give way to.
        victims: Who would, by node, as the scheduler told it.
    """

    pod: Pod
    victims: Mapping[str, JsonValue]


def parse_pod(pod: JSONObject) -> Pod:
    """Reads a pod's object.

    Raises:
        MalformedRequestError: If it is none.
    """
    metadata = _object(pod, "metadata")
    annotations = _object(metadata, "annotations")
    return Pod(
        namespace=_text(metadata, "namespace"),
        name=_text(metadata, "name"),
        uid=_text(metadata, "uid"),
        annotations={key: item for key, item in annotations.items() if isinstance(item, str)},
        resources=find_resources(_object(pod, "spec")),
    )


def parse_request(body: bytes) -> Request:
    """Reads the arguments of filter and prioritize.

    Raises:
        MalformedRequestError: If they make no sense.
    """
    found = _load(body)
    names = found.get("NodeNames")
    if names is None:
        if found.get("Nodes") is not None:
            raise _foreign_cache("Nodes")
        names = []
    if not isinstance(names, list) or not set(map(type, names)) <= {str}:
        raise MalformedRequestError("NodeNames is no list of names; expected one or null.")
    nodes: list[str] = names  # type: ignore[assignment]
    return Request(_parse_pod(found), nodes)


def parse_preempt(body: bytes) -> PreemptRequest:
    """Reads the arguments of preempt.

    Raises:
        MalformedRequestError: If they make no sense.
    """
    found = _load(body)
    victims = found.get("NodeNameToMetaVictims")
    if victims is None:
        if found.get("NodeNameToVictims"):
            raise _foreign_cache("NodeNameToVictims")
        victims = {}
    if not isinstance(victims, dict):
        raise MalformedRequestError(
            "NodeNameToMetaVictims is no object; expected victims by node, or null."
        )
    return PreemptRequest(_parse_pod(found), victims)


def write_passed(nodes: Sequence[str]) -> bytes:
    """Writes filter's answer where nodes pass."""
    return orjson.dumps({"NodeNames": nodes})


def write_refused(reasons: Mapping[str, str]) -> bytes:
    """Writes filter's answer where none does: taking other pods away would not help."""
    return orjson.dumps({"NodeNames": [], "FailedAndUnresolvableNodes": reasons})


def write_points(nodes: Sequence[str], points: Sequence[int]) -> bytes:
    """Writes prioritize's answer."""
    return orjson.dumps(
        [{"Host": node, "Score": score} for node, score in zip(nodes, points, strict=True)]
    )


def write_victims(victims: Mapping[str, JsonValue]) -> bytes:
    """Writes preempt's answer."""
    return orjson.dumps({"NodeNameToMetaVictims": victims})


def write_error(error: str) -> bytes:
    """Writes that filter cannot tell; the scheduler backs off and tries again."""
    return orjson.dumps({"Error": error})


def _load(body: bytes) -> JSONObject:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"The body is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise MalformedRequestError(
            f"The body is JSON of type {type(found).__name__}; expected the arguments' object."
        )
    return found


def _foreign_cache(key: str) -> MalformedRequestError:
    return MalformedRequestError(
        f"{key} came with whole objects; expected names: set nodeCacheCapable: true in the "
        "extender's stanza of the scheduler's configuration."
    )


def _parse_pod(found: JSONObject) -> Pod:
    pod = found.get("Pod")
    if not isinstance(pod, dict):
        raise MalformedRequestError("Pod is missing; expected the whole object of the pod.")
    return parse_pod(pod)


def _object(parent: JSONObject, key: str) -> JSONObject:
    found = parent.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise MalformedRequestError(f"{key} is no object; expected the pod as the API has it.")
    return found


def _text(parent: JSONObject, key: str) -> str:
    found = parent.get(key)
    return found if isinstance(found, str) else ""
