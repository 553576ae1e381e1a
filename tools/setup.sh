#!/bin/sh
# Makes the virtual environment: every package at the version in constraints.txt, and this
# project in editable form. Safe to repeat; pip's own settings (PIP_*, pip.conf) are respected, but
# for those that would install elsewhere.
# Usage: tools/setup.sh PYTHON VENV
set -eu
python=$1
venv=$2

echo "set-up: virtual environment in $venv"
# Scripts of an environment name its folder: a moved or copied one is made anew.
if [ "$(cat "$venv/folder" 2>/dev/null)" = "$PWD" ]; then
    "$python" -m venv "$venv"
else
    "$python" -m venv --clear "$venv"
    echo "$PWD" > "$venv/folder"
fi
export PIP_USER=0
unset PIP_TARGET PIP_PREFIX
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
