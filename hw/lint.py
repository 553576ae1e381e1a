"""What ``verilator --lint-only -Wall`` may say about the generated Verilog, and why."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiver:
    """A warning that is known and harmless.

    Parameters
    ----------
    rule : str
        Verilator's name.
    match : str
        Its text, with ``*``.
    reason : str
        Why it stays.
    """

    rule: str
    match: str
    reason: str


WAIVERS = (
    Waiver("DECLFILENAME", "*",
           "One file holds all modules."),
    Waiver("PROCASSINIT", "*",
           "Registers have both a start value, which FPGAs load with their configuration, and a "
           "synchronous reset."),
    Waiver("CASEINCOMPLETE", "*",
           "Amaranth assigns the default before each case, so nothing is latched."),
    Waiver("WIDTHEXPAND", "*",
           "Amaranth's widths follow its own rules; its converter writes constants and operands as "
           "short as they are, and Verilog extends them to the same value."),
    Waiver("WIDTHTRUNC", "Logical operator LOGNOT expects 1 bit*",
           "The converter writes `! x` for x == 0."),
    Waiver("WIDTHTRUNC", "*but Assign RHS's SHIFTR generates*",
           "An array's element chosen by a signal is a shift whose low bits are taken."),
    Waiver("UNUSEDSIGNAL", "*",
           "Fields and interface members have names of their own in waveforms, used or not, and a "
           "stage ignores parts of a payload that it does not need."),
    Waiver("CMPCONST", "Comparison is constant due to limited range",
           "A limit of one, as with max_k = 1, leaves nothing to compare."),
    Waiver("VARHIDDEN", "*'words'*",
           "A memory bears the name of the instance that holds it."),
)
"""All of them; anything else fails the test."""


def to_vlt() -> str:
    """The waivers as a Verilator configuration file, to be given before the Verilog."""
    lines = ["`verilator_config"]
    for waiver in WAIVERS:
        match = "" if waiver.match == "*" else f' -match "{waiver.match}"'
        lines += [f"// {waiver.reason}",
                  f'lint_off -rule {waiver.rule} -file "*sparseloom.v"{match}']
    return "\n".join([*lines, ""])
