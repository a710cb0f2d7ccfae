"""How pods get what they present to a gateway, and what they know it by.

A projected volume holds a token for the gateways alone, which the kubelet renews, and the gateways'
authority, which it reads from an annotation of the pod: no object in the pod's namespace is needed.
"""

import posixpath

from pydantic import JsonValue

from kubeqpu.admission.webhooks.drafts import Draft
from kubeqpu.common import names
from kubeqpu.common.requests import JSONObject, find_containers, object_at, objects_at

TOKEN_SECONDS = 3600
_VOLUME = "kubeqpu-credentials"
# /var/run is a link to /run in most images.
_FOLDERS = tuple(
    posixpath.normpath(folder)
    for folder in (names.CREDENTIALS_FOLDER, names.CREDENTIALS_FOLDER.removeprefix("/var"))
)


def add_credentials(draft: Draft, authority: str) -> None:
    """Mounts token and authority into every container that has nothing mounted there.

    Args:
        draft: The pod.
        authority: The gateways' authority as PEM; empty if it is not known, and then pods get a
            token alone.
    """
    spec = object_at(draft.manifest, "spec")
    lacking = [
        (kind, index)
        for kind, index, container in find_containers(spec)
        if not _has_mount(container)
    ]
    sources = _write_sources(with_authority=bool(authority))
    volume = _find_volume(spec, sources)
    if volume is None and not lacking:
        return
    if authority:
        draft.put(("metadata", "annotations", names.ANNOTATION_CA), authority)
    if volume is None:
        volume = _choose_name(spec)
        projected: JSONObject = {"sources": sources, "defaultMode": 0o644}
        draft.append(("spec", "volumes"), {"name": volume, "projected": projected})
    mount: JSONObject = {
        "name": volume,
        "mountPath": names.CREDENTIALS_FOLDER,
        "readOnly": True,
    }
    for kind, index in lacking:
        draft.append(("spec", kind, index, "volumeMounts"), mount)


def _write_sources(with_authority: bool) -> list[JsonValue]:
    # With every default spelled out, as the API server gives it back.
    token: JSONObject = {
        "audience": names.AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
        "path": posixpath.basename(names.TOKEN_FILE),
    }
    field = f"metadata.annotations['{names.ANNOTATION_CA}']"
    item: JSONObject = {
        "path": posixpath.basename(names.CA_FILE),
        "fieldRef": {"apiVersion": "v1", "fieldPath": field},
    }
    sources: list[JsonValue] = [{"serviceAccountToken": token}]
    return [*sources, {"downwardAPI": {"items": [item]}}] if with_authority else sources


def _find_volume(spec: JSONObject, sources: list[JsonValue]) -> str | None:
    for _, volume in objects_at(spec, "volumes"):
        name = volume.get("name")
        if isinstance(name, str) and object_at(volume, "projected").get("sources") == sources:
            return name
    return None


def _choose_name(spec: JSONObject) -> str:
    volumes = [volume for _, volume in objects_at(spec, "volumes")]
    # A mount of a volume that is missing is a mistake, and stays one.
    mounts = [
        mount
        for _, _, container in find_containers(spec)
        for _, mount in objects_at(container, "volumeMounts")
    ]
    taken = {found.get("name") for found in (*volumes, *mounts)}
    name, number = _VOLUME, 1
    while name in taken:
        number += 1
        name = f"{_VOLUME}-{number}"
    return name


def _has_mount(container: JSONObject) -> bool:
    """Tells whether something is mounted there, or inside, by hand or by an earlier pass."""
    for _, mount in objects_at(container, "volumeMounts"):
        path = mount.get("mountPath")
        if isinstance(path, str) and _is_inside(posixpath.normpath(path)):
            return True
    return False


def _is_inside(path: str) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in _FOLDERS)
