"""What the API server sends and expects: bytes in and out, plain data between.

`admission.k8s.io/v1`, AdmissionReview.
"""

import base64
import json
from dataclasses import dataclass, field

from pydantic import JsonValue

from kubeqpu.admission.errors import MalformedReviewError
from kubeqpu.admission.webhooks.drafts import Verdict
from kubeqpu.common.requests import JSONObject, object_at

_API_VERSION = "admission.k8s.io/v1"
# The API server shortens warnings to this if there are many.
_LONGEST_WARNING = 256
_UNPROCESSABLE = 422


@dataclass(frozen=True)
class Review:
    """A question of the API server.

    Attributes:
        uid: Names the question.
        kind: Kind of the object.
        namespace: Its namespace; empty for kinds without.
        name: Its name; empty where the server makes one up.
        manifest: The object.
        old: What it was; empty where it is created.
    """

    uid: str
    kind: str
    namespace: str = ""
    name: str = ""
    manifest: JSONObject = field(default_factory=dict)
    old: JSONObject = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """Namespace and name, or what the name is made from."""
        name = self.name or object_at(self.manifest, "metadata").get("generateName") or ""
        return f"{self.namespace}/{name}" if self.namespace else str(name)


def parse_review(body: bytes) -> Review:
    """Reads a question.

    Raises:
        MalformedReviewError: If it is none.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise MalformedReviewError(f"The body is no JSON: {error}.") from error
    request = found.get("request") if isinstance(found, dict) else None
    if not isinstance(request, dict) or found.get("apiVersion") != _API_VERSION:
        raise MalformedReviewError(
            f"The body is no question; expected an AdmissionReview of {_API_VERSION} with request."
        )
    uid, manifest = _text(request, "uid"), request.get("object")
    if not uid or not isinstance(manifest, dict):
        raise MalformedReviewError(
            "The question has no uid or no object; expected one about CREATE or UPDATE."
        )
    kind = _text(object_at(request, "kind"), "kind")
    return Review(
        uid=uid,
        kind=kind,
        namespace=_text(request, "namespace"),
        name=_text(request, "name"),
        # Parts that the server leaves out of the object itself.
        manifest={**manifest, "kind": manifest.get("kind") or kind},
        old=object_at(request, "oldObject"),
    )


def write_response(uid: str, verdict: Verdict) -> bytes:
    """Writes the answer to a question."""
    response: JSONObject = {"uid": uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        response["status"] = {"code": _UNPROCESSABLE, "message": verdict.refusal}
    elif verdict.operations:
        patch = json.dumps([operation.to_manifest() for operation in verdict.operations])
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(patch.encode()).decode()
    if verdict.warnings:
        warnings: list[JsonValue] = [_shorten(warning) for warning in verdict.warnings]
        response["warnings"] = warnings
    review = {"apiVersion": _API_VERSION, "kind": "AdmissionReview", "response": response}
    return json.dumps(review).encode()


def _shorten(warning: str) -> str:
    # They travel in a header, which takes no line breaks.
    text = " ".join(warning.split())
    return text if len(text) <= _LONGEST_WARNING else f"{text[: _LONGEST_WARNING - 1]}…"


def _text(parent: JSONObject, key: str) -> str:
    found = parent.get(key)
    return found if isinstance(found, str) else ""
