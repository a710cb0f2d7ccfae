"""Importing the client stays cheap: no Qiskit, no simulators, no settings machinery."""

import json
import subprocess
import sys

FORBIDDEN = ("qiskit", "qiskit_aer", "qiskit_ibm_runtime", "scipy", "pydantic", "kubernetes")


def imported_by(statement: str) -> list[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return list(json.loads(done.stdout))


def test_plain_client_imports_no_qiskit() -> None:
    modules = imported_by(
        "from kubeqpu.client import GatewayClient, SamplerJob, SamplerEntry\n"
        "client = GatewayClient('localhost:1', qpu='q')\n"
        "client.close()"
    )
    assert "kubeqpu.client.gateway" in modules
    assert [name for name in modules if name.split(".")[0] in FORBIDDEN] == []
