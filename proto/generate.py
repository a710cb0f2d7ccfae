"""Regenerates the committed gRPC and type stubs beside their .proto files."""

import importlib.resources
import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path(__file__).parent / "src"


def main() -> int:
    """Compiles every .proto below `src`; returns protoc's exit status."""
    protos = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.proto"))
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    return int(
        protoc.main(
            [
                "protoc",
                f"--proto_path={SOURCE}",
                f"--proto_path={well_known}",
                f"--python_out={SOURCE}",
                f"--grpc_python_out={SOURCE}",
                f"--mypy_out={SOURCE}",
                f"--mypy_grpc_out={SOURCE}",
                *protos,
            ]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
