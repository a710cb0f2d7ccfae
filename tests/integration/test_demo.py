"""The demo on a user's own circuit, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAIN = """
OPENQASM 3.0;
include "stdgates.inc";
qubit[4] q;
ry(0.4) q[0];
cx q[0], q[1];
ry(0.3) q[2];
rz(0.7) q[1];
cx q[1], q[2];
cx q[2], q[3];
"""


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.demo", *arguments]
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110
    )


def test_a_circuit_from_a_file_is_cut_run_and_reported(tmp_path: Path) -> None:
    circuit, output = tmp_path / "chain.qasm", tmp_path / "out"
    circuit.write_text(CHAIN)
    done = run_demo(
        *("--circuit", str(circuit), "--observables", "Z0; Z0 Z3", "--max-qubits", "3"),
        *("--shots", "20000", "--output", str(output)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "κ² = " in done.stdout
    assert "fragment 0 → " in done.stdout
    values = json.loads((output / "result.json").read_text())["tasks"]["chain"]
    assert set(values) == {"Z0", "Z0 Z3"}
    for item in values.values():
        # A noisy QPU is off by more than its statistical error, but not by much here.
        assert abs(item["value"] - item["exact"]) < 0.25
        assert item["standard_error"] > 0
    provenance = json.loads((output / "provenance.json").read_text())["chain"]
    assert [fragment["shots"] > 0 for fragment in provenance["fragments"]] == [True, True]
    assert (output / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (None, (), "cannot be read: No such file"),
        ("not a circuit", (), "is not an OpenQASM 3 circuit"),
        (CHAIN, ("--observables", "Z9"), "qubit 9 is not below 4"),
        (CHAIN, ("--max-qubits", "0"), "Give the width of a QPU, at least 1"),
    ],
)
def test_bad_input_gets_one_clear_sentence(
    tmp_path: Path, content: str | None, arguments: tuple[str, ...], sentence: str
) -> None:
    circuit = tmp_path / "mine.qasm"
    if content is not None:
        circuit.write_text(content)
    given = {"--observables": "Z0", "--max-qubits": "3"}
    given.update(zip(arguments[::2], arguments[1::2], strict=True))
    flags = [word for pair in given.items() for word in pair]
    done = run_demo("--circuit", str(circuit), *flags, "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()
