"""Settings, metrics, pages, ownership, back-off and the identity of sockets."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubeqpu.deviceplugin.backoff import Backoff
from kubeqpu.deviceplugin.credentials import CredentialFiles
from kubeqpu.deviceplugin.errors import ConfigurationError, CredentialsError
from kubeqpu.deviceplugin.kubelet_socket import identify
from kubeqpu.deviceplugin.metrics import Registry
from kubeqpu.deviceplugin.ownership import Ownership
from kubeqpu.deviceplugin.pages import Page, serve_pages
from kubeqpu.deviceplugin.settings import read_settings
from kubeqpu.deviceplugin.telemetry import STEPS, Telemetry

NEEDED = {"KUBEQPU_NODE_NAME": "node-1", "KUBEQPU_GATEWAYS": "gateways.quantum.svc:7070"}


def test_settings_come_from_the_environment() -> None:
    settings = read_settings({**NEEDED, "KUBEQPU_GRACE_SECONDS": "12.5", "KUBEQPU_TOKEN_FILE": ""})
    assert settings.discovery == ("gateways.quantum.svc", 7070)
    assert settings.tls_name == "device-plugin.gateways.quantum.svc"
    assert settings.grace_seconds == 12.5
    assert settings.token_file == Path("/var/run/secrets/kubeqpu.io/token")
    assert settings.kubelet_socket == Path("/var/lib/kubelet/device-plugins/kubelet.sock")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"KUBEQPU_NODE_NAME": " "}, "KUBEQPU_NODE_NAME is not set"),
        ({"KUBEQPU_GATEWAYS": "gateways"}, "expected host:port"),
        ({"KUBEQPU_GATEWAYS": "gateways:99999"}, "expected host:port"),
        ({"KUBEQPU_LOG_LEVEL": "loud"}, "expected debug, info"),
        ({"KUBEQPU_METRICS_PORT": "http"}, "expected 0 to 65535"),
        ({"KUBEQPU_GRACE_SECONDS": "0"}, "above 0"),
        ({"KUBEQPU_GRACE_SECONDS": "nan"}, "above 0"),
        ({"KUBEQPU_PLUGIN_FOLDER": "/" + "f" * 80}, "too long for sockets"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_settings({**NEEDED, **wrong})


def test_the_program_ends_at_wrong_settings_with_one_sentence_and_without_heavy_imports() -> None:
    script = (
        "import sys; from kubeqpu.deviceplugin.__main__ import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = {'ssl', 'pydantic', 'prometheus_client', 'kubernetes', 'qiskit', 'numpy'}\n"
        "    print(sorted(heavy & {name for name, found in sys.modules.items() if found}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "KUBEQPU_GATEWAYS is not set; the device plugin needs it.\n"
    assert done.stdout == "[]\n"


def test_prometheus_reads_the_metrics() -> None:
    registry = Registry()
    telemetry = Telemetry(registry)
    for step in STEPS:
        telemetry.fail(step, 0.25)
    telemetry.follow(lambda: 2, lambda: 3, lambda: True)
    telemetry.observe_allocate(0.002)
    telemetry.observe_allocate(7)
    families = {found.name: found for found in text_string_to_metric_families(registry.render())}
    assert all(name.startswith("kubeqpu_deviceplugin_") for name in families)
    failures = families["kubeqpu_deviceplugin_failures"]
    assert failures.type == "counter"
    assert {found.labels["step"]: found.value for found in failures.samples} == dict.fromkeys(
        STEPS, 1
    )
    slots = families["kubeqpu_deviceplugin_slots"]
    assert len(slots.samples) == 6
    assert families["kubeqpu_deviceplugin_gateway_streams"].samples[0].value == 2
    assert families["kubeqpu_deviceplugin_superseded"].samples[0].value == 1
    allocate = {
        found.labels.get("le", found.name.rpartition("_")[2]): found.value
        for found in families["kubeqpu_deviceplugin_allocate_seconds"].samples
    }
    assert (allocate["0.001"], allocate["0.0025"], allocate["5"], allocate["+Inf"]) == (0, 1, 1, 2)
    assert (allocate["sum"], allocate["count"]) == (7.002, 2)


def test_labels_are_quoted() -> None:
    registry = Registry()
    registry.gauge("odd", "Odd.", "label").set(1.5, 'a"b\\c\nd')
    (family,) = text_string_to_metric_families(registry.render())
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"label": 'a"b\\c\nd'}, 1.5)


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_pages_are_served_and_bad_requests_disturb_nobody() -> None:
    def answer(path: str) -> Page | None:
        return {"/healthz": Page("ok\n"), "/readyz": Page("not yet\n", 503)}.get(path)

    async with serve_pages(answer, "127.0.0.1", 0) as port:
        fine = await ask(port, b"GET /healthz?full HTTP/1.1\r\nHost: here\r\n\r\n")
        assert fine.startswith(b"HTTP/1.1 200 OK\r\n")
        assert fine.endswith(b"\r\n\r\nok\n")
        assert b"503 Service" in await ask(port, b"GET /readyz HTTP/1.0\r\n\r\n")
        assert b"404 Not Found" in await ask(port, b"GET /other HTTP/1.1\r\n\r\n")
        assert b"400 Bad" in await ask(port, b"POST /healthz HTTP/1.1\r\n\r\n")
        assert b"400 Bad" in await ask(port, b"\r\n\r\n")
        assert await ask(port, b"GET /" + b"x" * 10_000 + b"\r\n\r\n") == b""
        assert (await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")).endswith(b"ok\n")


def test_the_newest_process_acts_and_an_older_one_takes_over_when_it_died(tmp_path: Path) -> None:
    old, new = Ownership(tmp_path), Ownership(tmp_path)
    old.take()
    assert old.is_ours()
    new.take()
    assert (old.is_ours(), new.is_ours()) == (False, True)
    assert not old.take_from_dead()
    new.release()
    assert old.take_from_dead()
    assert (old.is_ours(), new.is_ours()) == (True, False)


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    old = Ownership(tmp_path)
    old.take()
    script = (
        "import sys, time; from pathlib import Path\n"
        "from kubeqpu.deviceplugin.ownership import Ownership\n"
        "new = Ownership(Path(sys.argv[1])); new.take(); print('taken', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        assert not old.is_ours()
        assert not old.take_from_dead()
        process.kill()
    assert old.take_from_dead()
    assert old.is_ours()


def test_a_wiped_folder_gets_the_owner_s_file_again(tmp_path: Path) -> None:
    owner, other = Ownership(tmp_path), Ownership(tmp_path)
    owner.take()
    for path in tmp_path.iterdir():
        path.unlink()
    assert owner.is_ours()
    assert not other.take_from_dead()
    assert [path.name for path in tmp_path.iterdir()] == ["kubeqpu-deviceplugin.lock"]


def test_a_folder_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    owner = Ownership(tmp_path / "missing")
    with pytest.raises(OSError, match="No such file"):
        owner.take()
    assert not owner.holds


def test_waits_grow_to_a_limit_and_start_anew_after_success() -> None:
    backoff = Backoff(0.1, 1.0)
    waits = [backoff.fail() for _ in range(100)]
    for number, wait in enumerate(waits):
        limit = min(0.1 * 2**number, 1.0)
        assert limit / 2 <= wait <= limit
    backoff.succeed()
    assert backoff.fail() <= 0.1


def test_a_socket_made_again_is_another(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    assert identify(path) is None
    path.touch()
    first = identify(path)
    assert identify(path) == first
    path.unlink()
    path.touch()
    assert identify(path) not in {None, first}


def test_credentials_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    files = CredentialFiles(tmp_path / "token", tmp_path / "ca.crt")
    for content, sentence in (
        (None, "cannot be read"),
        ("", "no token"),
        ("two words", "no token"),
    ):
        if content is not None:
            files.token_file.write_text(content)
        with pytest.raises(CredentialsError, match=sentence) as caught:
            files.read_token()
        assert str(files.token_file) in str(caught.value)
        assert "two words" not in str(caught.value)
    files.token_file.write_text("token\n")
    assert files.read_token() == "token"
    with pytest.raises(CredentialsError, match="cannot be read"):
        files.read_authority()
    files.ca_file.write_text("nothing")
    with pytest.raises(CredentialsError, match="holds no certificate"):
        files.read_authority()
