#!/bin/sh
# Makes the virtual environment: every package at the version in constraints.txt, and this
# project in editable form. Safe to repeat; pip's own settings (PIP_*, pip.conf) are respected.
# Usage: tools/setup.sh PYTHON VENV
set -eu
python=$1
venv=$2

echo "set-up: virtual environment in $venv"
"$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

echo "set-up: packages (the first time this downloads them; torch is the largest)"
# The build backend comes first and pinned too, so that no second environment is made for it.
pip install --constraint constraints.txt setuptools
pip install --constraint constraints.txt --no-build-isolation --editable '.[test]'

# cocotb loads the interpreter into the simulator; a python3 without its shared library cannot.
"$venv/bin/python" - <<'PYTHON'
import sys
from find_libpython import find_libpython
if find_libpython() is None:
    sys.exit("error: this python3 has no shared library, which the simulator loads: install the "
             f"package libpython{sys.version_info.major}.{sys.version_info.minor}, or build "
             "Python with --enable-shared")
PYTHON
