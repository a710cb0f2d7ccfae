from pathlib import Path

import pytest

from kubeqpu.common.placement import SimulatorPolicy
from kubeqpu.qpu_gateway.settings import ConfigurationError, load_settings

QPUS = "qpus: [{name: sim, provider: aer, slots: 2}]\n"


def write(folder: Path, text: str) -> list[str]:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return ["--config", str(path)]


def test_flags_outrank_the_file_and_the_file_outranks_defaults(tmp_path: Path) -> None:
    text = QPUS + "limits: {max_blob_bytes: 1000, max_job_circuits: 7}\nbatch_seconds: 3\n"
    flags = ["--limits.max-job-circuits", "5", "--listen", "unix:/run/gateway.sock"]
    settings = load_settings([*write(tmp_path, text), *flags])
    assert settings.limits.max_job_circuits == 5
    assert settings.limits.max_blob_bytes == 1000
    assert settings.batch_seconds == 3
    assert settings.listen == ("unix:/run/gateway.sock",)
    assert [(qpu.name, qpu.slots) for qpu in settings.qpus] == [("sim", 2)]


def test_classes_become_placement_classes_and_the_default_always_exists(tmp_path: Path) -> None:
    text = QPUS + (
        "classes:\n"
        "  quick:\n"
        "    requirements: {max_estimated_wait_seconds: 5, simulators: Require}\n"
        "    weights: {wait: 2}\n"
    )
    classes = load_settings(write(tmp_path, text)).placement_classes()
    assert set(classes) == {"standard", "quick"}
    assert classes["quick"].name == "quick"
    assert classes["quick"].requirements.max_estimated_wait_seconds == 5
    assert classes["quick"].requirements.simulators is SimulatorPolicy.REQUIRE
    assert classes["quick"].weights.wait == 2


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        (QPUS, ["--listen", "0.0.0.0:7070"], "can be reached from other machines"),
        (QPUS, ["--listen", "[::]:7070"], "A flag is wrong"),
        (QPUS + 'listen: ["[::]:7070"]', [], "can be reached from other machines"),
        (QPUS, ["--listen", "127.evil.example:1"], "can be reached from other machines"),
        ("classes: {}\n", [], "has no QPU"),
        (QPUS + QPUS.replace("qpus", "other"), [], "other"),
        ("- a\n- b\n", [], "holds no mapping"),
        ("qpus: [", [], "is not YAML"),
        ("qpus: [{name: Sim, provider: aer}]\n", [], "qpus.0.name"),
        ("qpus: [{name: a, provider: aer}, {name: a, provider: aer}]\n", [], "more than once"),
        (QPUS + "classes: {x: {weights: {wait: -1}}}\n", [], "classes.x"),
        (QPUS, ["--batch-seconds", "0"], "batch_seconds"),
    ],
)
def test_wrong_settings_are_refused_with_one_sentence(
    tmp_path: Path, text: str, flags: list[str], words: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings([*write(tmp_path, text), *flags])
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        load_settings(["--config", str(tmp_path / "nowhere.yaml")])
