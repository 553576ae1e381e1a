import re
import subprocess

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.register_docs import to_c_header, to_markdown, to_python
from sparseloom.hw.registers import REGISTERS, build_values
from sparseloom.model.packed import spec


def load_python():
    namespace: dict = {}
    source = to_python()
    assert "import " not in source
    exec(compile(source, "sparseloom_regs.py", "exec"), namespace)
    return namespace


def test_python_agrees_with_the_table():
    module = load_python()
    assert module["OFFSETS"] == {register.name: register.offset for register in REGISTERS}
    assert module["ACCESS"] == {register.name: register.access.value for register in REGISTERS}
    assert module["ERROR_CAUSES"] == spec.ERROR_CAUSES
    for register in REGISTERS:
        assert module["FIELDS"][register.name] == {
            field.name: (field.low, field.width, field.signed) for field in register.fields}


def test_python_packs_and_unpacks():
    module = load_python()
    word = module["pack"]("JOB_CONFIG", zero_point=-3, lut=1)
    assert word == 0x2FD
    assert module["unpack"]("JOB_CONFIG", word) == {"zero_point": -3, "raw": 0, "lut": 1}
    assert module["unpack"]("VERSION", 0x01020304) == {
        "patch": 4, "minor": 3, "major": 2, "stream_version": 1}
    with pytest.raises(ValueError, match=r"JOB_CONFIG\.zero_point must be in -128\.\.127, not 128"):
        module["pack"]("JOB_CONFIG", zero_point=128)
    with pytest.raises(ValueError, match=r"JOB_SHAPE\.inputs must be in 0\.\.65535, not 65536"):
        module["pack"]("JOB_SHAPE", inputs=65536)


def test_c_header_agrees_with_the_table():
    header = to_c_header()
    found = dict(re.findall(r"#define SPARSELOOM_(\w+) (0x[0-9a-f]+|\d+)u", header))
    expected = {"STREAM_VERSION": spec.STREAM_VERSION}
    for register in REGISTERS:
        expected[f"{register.name}_OFFSET"] = register.offset
        for field in register.fields:
            expected[f"{register.name}_{field.name.upper()}_SHIFT"] = field.low
            expected[f"{register.name}_{field.name.upper()}_MASK"] = field.mask
    assert {name: int(value, 0) for name, value in found.items()} == expected
    causes = re.findall(r"SPARSELOOM_ERROR_IS_(\w+) = (\d+)", header)
    assert {int(code): name.lower() for name, code in causes} == {
        code: name for code, (name, _) in spec.ERROR_CAUSES.items()}


@pytest.mark.parametrize("language", [["-x", "c", "-std=c99"], ["-x", "c++", "-std=c++11"]],
                         ids=" ".join)
def test_c_header_compiles(language, tmp_path):
    """With g++ for both: set-up asks for it, not for gcc."""
    (tmp_path / "sparseloom_regs.h").write_text(to_c_header())
    source = tmp_path / "use.c"
    source.write_text(
        '#include "sparseloom_regs.h"\n#include "sparseloom_regs.h"\n'
        "int check[SPARSELOOM_STATUS_QUEUE_SPACE_MASK >> SPARSELOOM_STATUS_QUEUE_SPACE_SHIFT"
        " == 255u && SPARSELOOM_ERROR_IS_CRC == 11 ? 1 : -1];\n")
    subprocess.run(["g++", *language, "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                    "-fsyntax-only", str(source)], check=True)


def test_markdown_has_every_register_and_field():
    config = ArrayConfig(rows=3, cols=5)
    page = to_markdown(values=build_values(config))
    for register in REGISTERS:
        section = page.split(f"## {register.name}\n")[1].split("\n## ")[0]
        assert f"`{register.offset:#04x}`, {register.access.value}." in section
        for field in register.fields:
            bits = (str(field.low) if field.width == 1
                    else f"{field.low + field.width - 1}:{field.low}")
            assert f"| {bits} | `{field.name}` | {field.doc}" in section
    assert "| 7:0 | `rows` | tokens in a token group | 3 |" in page
    assert "| 31:0 | `value` | 0x53504c4d | 0x53504c4d |" in page
    for code, (name, doc) in spec.ERROR_CAUSES.items():
        assert f"| {code} | `{name}` | {doc} |" in page
    assert "| this build |" not in to_markdown()
