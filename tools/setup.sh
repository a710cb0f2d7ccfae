#!/usr/bin/env bash
# Makes .venv from the hash-pinned requirements and links the workspace members given as arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
    echo "kubeqpu needs Python 3.11 or later, but '$python' was not found. Install it, or name one: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "kubeqpu needs Python 3.11 or later, but '$python' is $("$python" -V 2>&1). Name a newer one: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "'$python' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi

echo "Setting up .venv (about a minute the first time)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/pip install --quiet --require-hashes --requirement requirements/dev.txt
editables=()
for member in "$@"; do editables+=(--editable "$member"); done
# uv-build looks for its own program on PATH.
PATH="$PWD/.venv/bin:$PATH" .venv/bin/pip install --quiet --no-deps --no-build-isolation "${editables[@]}"
touch .venv/ready
