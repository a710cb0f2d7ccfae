"""The Bell example does what its README says."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.gateway import GatewayProcess

EXAMPLE = Path(__file__).parents[2] / "examples" / "bell"


def test_the_bell_example_prints_an_entangled_pair(tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLE / "gateway.yaml").read_text(encoding="utf-8"))
    with GatewayProcess(tmp_path, config["qpus"]) as gateway:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE / "bell.py")],
            env={**os.environ, "KUBEQPU_GATEWAY": gateway.address},
            capture_output=True,
            text=True,
            check=True,
        )
    counts = ast.literal_eval(done.stdout)
    assert sum(counts.values()) == 4000
    # Noise is there, and small: readout errors of Manila's best pair are a few per cent.
    assert 0.85 < (counts["00"] + counts["11"]) / 4000 < 0.999
    assert counts["00"] == pytest.approx(2000, rel=0.15)
