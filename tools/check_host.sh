#!/bin/sh
# Says in one line what this machine lacks, before anything is made or downloaded.
# Usage: tools/check_host.sh PYTHON
python=${1:-python3}
lacks=
need() { lacks="$lacks${lacks:+; }$1"; }

if ! command -v "$python" >/dev/null 2>&1; then
    need "no '$python': install Python 3.11 or newer (or say which: make PYTHON=python3.12)"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    need "'$python' is $("$python" -V 2>&1): install Python 3.11 or newer (or say which: make PYTHON=python3.12)"
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    need "'$python' lacks venv or ensurepip: install the package python3-venv"
fi
command -v g++ >/dev/null 2>&1 || need "no C++ compiler 'g++': install the package g++"
command -v perl >/dev/null 2>&1 || need "no 'perl' (Verilator is started by it): install the package perl"

[ -z "$lacks" ] || { echo "error: $lacks" >&2; exit 1; }
