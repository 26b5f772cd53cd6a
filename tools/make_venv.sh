#!/usr/bin/env bash
# Make the virtual environment: tools/make_venv.sh PYTHON DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1
directory=$2

"$python" - <<'CHECK'
import sys

if sys.version_info < (3, 11):
    sys.exit(f"error: Python 3.11 or newer is needed, and {sys.executable} is {sys.version.split()[0]}\n"
             "hint: make PYTHON=/path/to/python3.11 test")
CHECK

# An environment whose interpreter is gone, after an upgrade for instance, cannot be repaired in place.
"$directory/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$directory"
# pip is used, and not uv, because people's mirrors and certificates are configured there; --group came with 25.1.
"$directory/bin/python" -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
"$directory/bin/python" -m pip install -qq --disable-pip-version-check --editable . --group dev
