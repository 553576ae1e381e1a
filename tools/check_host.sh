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
elif ! "$python" - <<'PYTHON' 2>/dev/null
import ctypes.util, os, sys, sysconfig
get = sysconfig.get_config_var
names = {name for name in (get("INSTSONAME"), get("LDLIBRARY")) if name and ".so" in name}
folders = {get("LIBDIR"), os.path.join(get("LIBDIR") or "", get("MULTIARCH") or ""),
           os.path.join(sys.base_prefix, "lib")}
there = any(os.path.exists(os.path.join(folder, name)) for folder in folders if folder
            for name in names)
version = f"python{sys.version_info.major}.{sys.version_info.minor}"
sys.exit(not (sys.platform != "linux" or there or ctypes.util.find_library(version)))
PYTHON
then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    need "'$python' has no shared library, which the simulator loads: install the package libpython$version, or build Python with --enable-shared"
fi
case $PWD in *' '*) need "the folder's path has a space, which make and Verilator cannot take: move it" ;; esac
command -v g++ >/dev/null 2>&1 || need "no C++ compiler 'g++': install the package g++"
command -v perl >/dev/null 2>&1 || need "no 'perl' (Verilator is started by it): install the package perl"

[ -z "$lacks" ] || { echo "error: $lacks" >&2; exit 1; }
