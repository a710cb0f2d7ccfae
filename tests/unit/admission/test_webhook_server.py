"""The webhooks over HTTPS, with classes and QPUs from an API server's stand-in."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from prometheus_client import CollectorRegistry

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.errors import CertificateError
from kubeqpu.admission.webhooks.certificates import Certificates
from kubeqpu.admission.webhooks.drafts import Verdict
from kubeqpu.admission.webhooks.judge import Judge
from kubeqpu.admission.webhooks.server import Server
from kubeqpu.admission.webhooks.telemetry import Telemetry
from kubeqpu.admission.webhooks.wire import write_response
from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from tests.support.object_server import ObjectServer
from tests.unit.admission.webhook_objects import Object, container, job, pod

SAMPLE = "kubeqpu_webhooks_reviews_total"


def write_certificate(folder: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("127.0.0.1")
    (folder / "tls.crt").write_bytes(issued.cert_chain_pems[0].bytes())
    (folder / "tls.key").write_bytes(issued.private_key_pem.bytes())
    (folder / "ca.crt").write_bytes(authority.cert_pem.bytes())


@dataclass
class Stand:
    """Webhooks that are served, and how they are asked."""

    port: int
    certificates: Certificates
    registry: CollectorRegistry

    async def ask(
        self, verb: str, manifest: Object, authority: trustme.CA
    ) -> tuple[int, dict[str, Any]]:
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u-1",
                "kind": {"kind": manifest["kind"]},
                "namespace": "team",
                "operation": "CREATE",
                "object": manifest,
            },
        }
        status, body = await self.post(verb, json.dumps(review).encode(), authority)
        return status, json.loads(body)["response"]

    async def post(self, verb: str, body: bytes, authority: trustme.CA) -> tuple[int, bytes]:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        url = f"https://127.0.0.1:{self.port}/{verb}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, ssl=context) as answer,
        ):
            return answer.status, await answer.read()

    def count(self, verb: str, kind: str, result: str) -> float:
        labels = {"verb": verb, "kind": kind, "result": result}
        found = self.registry.get_sample_value(SAMPLE, labels)
        assert found is not None
        return found


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving(folder: Path, fault: str = "") -> AsyncIterator[Stand]:
    cluster = ObjectServer()
    spec = {"admission": "None"}
    metadata = {"name": "free"}
    head = {"apiVersion": api.API_VERSION, "kind": "QPUClass"}
    cluster.put("qpuclasses", {**head, "metadata": metadata, "spec": spec})
    certificates = Certificates(folder)
    certificates.refresh()
    registry = CollectorRegistry()
    async with cluster.serve() as api_client:
        catalogue = Catalogue(ObjectsAPI(api_client, "test"))
        watching = asyncio.create_task(catalogue.run())
        async with asyncio.timeout(5.0):
            while not catalogue.is_complete():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        judge = Judge(catalogue, lambda: certificates.authority, "kubeqpu-scheduler")
        server = Server(judge, lambda: fault, Telemetry(registry))
        async with server.serve(certificates.context, "127.0.0.1", 0) as port:
            yield Stand(port, certificates, registry)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_pod_is_changed(tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path) as stand:
        status, answer = await stand.ask("mutate", pod(), authority)
        assert status == 200
        assert (answer["uid"], answer["allowed"]) == ("u-1", True)
        assert answer["patchType"] == "JSONPatch"
        patch = json.loads(base64.b64decode(answer["patch"]))
        authorities = [one["value"] for one in patch if "kubeqpu.io~1ca" in one["path"]]
        assert authorities == [authority.cert_pem.bytes().decode()]
        assert answer["warnings"] == ["No QPU offers kubeqpu.io/qpu: it waits until one does."]
        assert stand.count("mutate", "Pod", "changed") == 1


async def test_its_class_is_looked_up(tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path) as stand:
        for name, gated in (("free", False), ("gone", True)):
            asked = pod(annotations={"kubeqpu.io/class": name})
            _, answer = await stand.ask("mutate", asked, authority)
            assert (b"schedulingGates" in base64.b64decode(answer["patch"])) is gated


@pytest.mark.parametrize("verb", ["mutate", "validate"])
async def test_what_is_malformed_is_refused_in_words(
    verb: str, tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path) as stand:
        for asked in (pod(container(qpu="0.5")), job(pod(container(qpu="0.5")))):
            _, answer = await stand.ask(verb, asked, authority)
            assert answer["allowed"] is False
            assert "0.5; slots are whole" in answer["status"]["message"]
            assert "patch" not in answer
        assert stand.count(verb, "Pod", "refused") == 1
        assert stand.count(verb, "Job", "refused") == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"request": {"uid": "u"}}', b"\xff",
    b'{"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u", "object": {}}}',
])  # fmt: skip
async def test_what_is_no_review_is_answered_with_400(
    body: bytes, tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path) as stand:
        status, text = await stand.post("mutate", body, authority)
        assert status == 400
        assert b"expected" in text or b"no JSON" in text
        assert stand.count("mutate", "other", "failed") == 1
        assert (await stand.ask("mutate", pod(), authority))[0] == 200


def test_warnings_fit_into_a_header() -> None:
    warnings = ("QPU fez: NotReady\n(too\tlong) " + "very " * 100,)
    (warning,) = json.loads(write_response("u", Verdict(warnings=warnings)))["response"]["warnings"]
    assert warning.startswith("QPU fez: NotReady (too long) very")
    assert len(warning) == 256
    assert warning.endswith("…")


async def test_nothing_is_decided_before_classes_are_known(
    tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path, "QPUClasses are not listed yet.") as stand:
        status, text = await stand.post("mutate", b"{}", authority)
        assert (status, text) == (503, b"QPUClasses are not listed yet.\n")


async def test_a_renewed_certificate_is_served_without_a_restart(
    tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path) as stand:
        await stand.ask("mutate", pod(), authority)
        assert stand.certificates.refresh() is False
        renewed = trustme.CA()
        write_certificate(tmp_path, renewed)
        assert stand.certificates.refresh() is True
        _, answer = await stand.ask("mutate", pod(), renewed)
        pem = renewed.cert_pem.bytes().decode()
        assert pem in json.dumps(json.loads(base64.b64decode(answer["patch"]))).replace("\\n", "\n")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stand.ask("mutate", pod(), authority)


@pytest.mark.parametrize("broken", [
    "other key", "other certificate", "no key", "garbage", "too much to carry",
])  # fmt: skip
async def test_a_broken_certificate_leaves_the_old_one_served(
    broken: str, tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(tmp_path, authority)
    async with serving(tmp_path) as stand:
        if broken == "no key":
            (tmp_path / "tls.key").unlink()
        elif broken == "too much to carry":
            (tmp_path / "ca.crt").write_text("-" * 200_000)
        elif broken == "other certificate":
            other = authority.issue_cert("127.0.0.1").cert_chain_pems[0].bytes()
            (tmp_path / "tls.crt").write_bytes(other)
        elif broken == "garbage":
            (tmp_path / "tls.crt").write_text("garbage")
        else:
            other = trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes()
            (tmp_path / "tls.key").write_bytes(other)
        with pytest.raises(CertificateError, match="belong together"):
            stand.certificates.refresh()
        assert (await stand.ask("mutate", pod(), authority))[0] == 200
