"""Fails when a committed file differs from what its generator makes of it."""

import hashlib
import sys

from tools import generate

GENERATED = (
    "proto/src/**/*_pb2*.py*",
    "requirements/*.txt",
    "charts/kubeqpu/templates/crds/*.yaml",
    "charts/kubeqpu/values.yaml",
    "charts/kubeqpu/values.schema.json",
    "docs/reference/helm-values.md",
)


def digests() -> dict[str, str]:
    """Hashes every generated file, by its path in the repository."""
    return {
        str(path.relative_to(generate.ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in GENERATED
        for path in sorted(generate.ROOT.glob(pattern))
        if path.suffix != ".pyc"
    }


def main() -> int:
    """Regenerates in place and names what changed; returns 1 if anything did."""
    before = digests()
    generate.main()
    after = digests()
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    for name in changed:
        print(f"{name} was out of date. It is regenerated now: look at the change and commit it.")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
