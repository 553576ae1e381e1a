"""The register table for people and programs: Markdown, a C header, a Python module."""
import textwrap
from collections.abc import Mapping, Sequence

from sparseloom.hw.registers import REGISTERS, UNIT_VERSION, Access, Register
from sparseloom.model.packed import spec

PREFIX = "SPARSELOOM"

ACCESS_DOC = {
    Access.R: "read",
    Access.RW: "read and write, 0 after reset",
    Access.W: "write; reading answers SLVERR",
    Access.RW1C: "read; writing 1 to a bit clears it, 0 after reset",
}


def _version() -> str:
    return ".".join(map(str, UNIT_VERSION))


def to_markdown(registers: Sequence[Register] = REGISTERS,
                values: Mapping[str, Mapping[str, int]] | None = None) -> str:
    """The register map as a page.

    Parameters
    ----------
    registers : sequence of Register
    values : mapping of register name to field name to int, optional
        What never changes in one build; shown in a column of its own.
    """
    lines = [
        "# Registers of the matrix unit", "",
        f"Version {_version()}. AXI4-Lite, 32 bits wide, little-endian; offsets in bytes. Bits "
        "that are not listed read 0 and ignore writes. An offset that is not listed, a write to "
        "a register that can only be read, and a read of one that can only be written answer "
        "SLVERR and change nothing (reads give 0).", "",
        "| offset | register | access | what for |", "|---|---|---|---|",
        *(f"| `{register.offset:#04x}` | [{register.name}](#{register.name.lower()}) "
          f"| {register.access.value} | {register.doc} |" for register in registers), "",
        *(f"- **{access.value}**: {doc}." for access, doc in ACCESS_DOC.items()), "",
    ]
    for register in registers:
        lines += [f"## {register.name}", "",
                  f"Offset `{register.offset:#04x}`, {register.access.value}. {register.doc}", ""]
        if not register.fields:
            continue
        known = (values or {}).get(register.name)
        lines += ["| bits | field | meaning |" + (" this build |" if known else ""),
                  "|---|---|---|" + ("---|" if known else "")]
        for field in register.fields:
            high = field.low + field.width - 1
            bits = str(field.low) if field.width == 1 else f"{high}:{field.low}"
            doc = field.doc + (" (two's complement)" if field.signed else "")
            value = ""
            if known:
                number = known[field.name]
                value = f" {number:#010x} |" if number > 0xFFFFFF else f" {number} |"
            lines.append(f"| {bits} | `{field.name}` | {doc} |{value}")
        lines.append("")
    lines += ["## Error causes", "",
              "In `ERROR.cause`, and in the one byte of the closing result beat.", "",
              "| code | name | meaning |", "|---|---|---|",
              *(f"| {code} | `{name}` | {doc} |"
                for code, (name, doc) in spec.ERROR_CAUSES.items()), ""]
    return "\n".join(lines)


def to_c_header(registers: Sequence[Register] = REGISTERS) -> str:
    """The register map as ``sparseloom_regs.h``: C99 and C++, nothing but constants.

    Per register ``SPARSELOOM_<REGISTER>_OFFSET`` (bytes); per field ``…_<FIELD>_SHIFT`` and
    ``…_<FIELD>_MASK`` (in place); ``enum sparseloom_error``.
    """
    lines = [
        "/* Registers of the Sparseloom matrix unit, generated from its register table. */",
        "#ifndef SPARSELOOM_REGS_H", "#define SPARSELOOM_REGS_H", "",
        f'#define {PREFIX}_UNIT_VERSION "{_version()}"',
        f"#define {PREFIX}_STREAM_VERSION {spec.STREAM_VERSION}u", "",
    ]
    for register in registers:
        name = f"{PREFIX}_{register.name}"
        text = f"{register.name}, {register.access.value}: {register.doc}"
        lines += ["/* " + "\n   ".join(textwrap.wrap(text, 92)) + " */",
                  f"#define {name}_OFFSET {register.offset:#04x}u"]
        for field in register.fields:
            doc = field.doc + (", two's complement" if field.signed else "")
            lines += [f"#define {name}_{field.name.upper()}_SHIFT {field.low}u",
                      f"#define {name}_{field.name.upper()}_MASK {field.mask:#010x}u /* {doc} */"]
        lines.append("")
    lines += ["/* ERROR.cause, and the byte of the closing result beat. */",
              "enum sparseloom_error {"]
    last = max(spec.ERROR_CAUSES)
    lines += [f"    {PREFIX}_ERROR_IS_{name.upper()} = {code}{'' if code == last else ','} "
              f"/* {doc} */" for code, (name, doc) in spec.ERROR_CAUSES.items()]
    lines += ["};", "", "#endif /* SPARSELOOM_REGS_H */", ""]
    return "\n".join(lines)


_PYTHON_FUNCTIONS = '''
def unpack(register, word):
    """Fields of a register's word, as a dict of field name to int."""
    values = {}
    for name, (low, width, signed) in FIELDS[register].items():
        value = word >> low & (1 << width) - 1
        if signed and value >> width - 1:
            value -= 1 << width
        values[name] = value
    return values


def pack(register, **values):
    """Word of a register from its fields; fields that are not given are 0."""
    word = 0
    for name, value in values.items():
        low, width, signed = FIELDS[register][name]
        least, limit = (-1 << width - 1, 1 << width - 1) if signed else (0, 1 << width)
        if not least <= value < limit:
            raise ValueError(f"{register}.{name} must be in {least}..{limit - 1}, not {value!r}")
        word |= (value & (1 << width) - 1) << low
    return word
'''


def to_python(registers: Sequence[Register] = REGISTERS) -> str:
    """The register map as ``sparseloom_regs.py``, a module that imports nothing.

    ``OFFSETS`` (bytes), ``ACCESS``, ``FIELDS`` (register to field to (low, width, signed)),
    ``ERROR_CAUSES`` (code to (name, meaning)), ``unpack`` and ``pack``.
    """
    lines = ['"""Registers of the Sparseloom matrix unit, generated from its register table."""',
             "",
             f"UNIT_VERSION = {UNIT_VERSION!r}",
             f"STREAM_VERSION = {spec.STREAM_VERSION}", "", "OFFSETS = {"]
    lines += [f'    "{register.name}": {register.offset:#04x},  # {register.doc}'
              for register in registers]
    lines += ["}", "", "ACCESS = {"]
    lines += [f'    "{register.name}": "{register.access.value}",' for register in registers]
    lines += ["}", "", "# register: field: (lowest bit, bits, two's complement)", "FIELDS = {"]
    for register in registers:
        lines.append(f'    "{register.name}": {{')
        lines += [f'        "{field.name}": ({field.low}, {field.width}, {field.signed}),  '
                  f"# {field.doc}" for field in register.fields]
        lines.append("    },")
    lines += ["}", "", "ERROR_CAUSES = {"]
    lines += [f"    {code}: {(name, doc)!r}," for code, (name, doc) in spec.ERROR_CAUSES.items()]
    lines += ["}", ""]
    return "\n".join(lines) + _PYTHON_FUNCTIONS
