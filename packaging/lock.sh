#!/bin/bash
# Pins every Python package with hashes: packaging/build.lock (build tools) and packaging/requirements.lock (what smbfuse
# and its tests need). Resolves for all Python versions from 3.11 on, from the default index, whatever mirrors this machine
# is set up to use, so that the files are the same wherever they are made. UPGRADE=1 takes newer versions where it can.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch"
"$scratch/bin/pip" install --quiet uv

compile() {
    "$scratch/bin/uv" pip compile --no-config --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --custom-compile-command 'make lock' --quiet ${UPGRADE:+--upgrade} "$@" >/dev/null
}
compile --output-file packaging/build.lock packaging/build.in
compile --constraint packaging/build.lock --extra dev --output-file packaging/requirements.lock pyproject.toml
