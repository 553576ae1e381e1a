"""What ``verilator --lint-only -Wall`` may say about the generated Verilog, and why."""
import re
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
           "synchronous reset. All of them: the rule has nothing else to say."),
    Waiver("CASEINCOMPLETE", "*",
           "Amaranth assigns the default before each case, so nothing is latched; what is, is told "
           "by rule LATCH. The message names nothing that could tell one case from another."),
    *(Waiver("WIDTHEXPAND", f"Operator {operator} expects *",
             f"The converter writes operands of {what} as short as they are, and Verilog extends "
             "them to the same value. Assignments and all other operators are looked at.")
      for operator, what in (("ADD", "a sum"), ("SUB", "a difference"), ("EQ", "=="),
                             ("NEQ", "!="), ("LT*", "< and <="), ("GT*", "> and >="))),
    Waiver("WIDTHTRUNC", "Logical operator LOGNOT expects 1 bit*",
           "The converter writes `! x` for x == 0."),
    Waiver("WIDTHTRUNC", "*but Assign RHS's SHIFTR generates*",
           "An array's element chosen by a signal is a shift whose low bits are taken."),
    Waiver("UNUSEDSIGNAL", "Signal is not used: *",
           "Fields, interface members and ports have wires of their own for waveforms, used or "
           "not, by any name. Registers are looked at all the same, see unused_registers."),
    Waiver("UNUSEDSIGNAL", "Bits of signal are not used: '$*",
           "A result of the converter's own is as wide as its operator makes it."),
    Waiver("UNUSEDSIGNAL", "Bits of signal are not used: 'product*",
           "The joint product of two 4-bit weights has one bit more than the two of them."),
    Waiver("UNUSEDSIGNAL", "Bits of signal are not used: 'w_*_*'?8:4?",
           "The last of an odd number of columns of 4-bit weights has no upper weight; synthesis "
           "takes its bits out."),
    Waiver("UNUSEDSIGNAL", "Bits of signal are not used: 'bus__a?addr*",
           "Registers are words: the address's lowest two bits say nothing."),
    Waiver("CMPCONST", "Comparison is constant due to limited range",
           "A limit of one, as with max_k = 1, leaves nothing to compare."),
    Waiver("VARHIDDEN", "*'words'*",
           "A memory bears the name of the instance that holds it."),
)
"""All of them; anything else fails the test."""


def unused_registers(messages: str, verilog: str) -> list[str]:
    """Registers that nothing reads, or parts of them.

    A waiver sees a name and not whether it is a register's, so the test takes the waivers of
    UNUSEDSIGNAL out and asks here.

    Parameters
    ----------
    messages : str
        What Verilator says of the file.
    verilog : str
        The file.

    Returns
    -------
    list of str
        The message for each. One that only feeds itself is not found, nor a field of a
        structure, since its wire reads it, nor a memory's output.
    """
    lines = verilog.splitlines()
    found = re.findall(r"^%Warning-UNUSEDSIGNAL: [^:]+:(\d+):\d+: (.*: '.*)$", messages,
                       re.MULTILINE)
    # The converter's own are declared as `reg` too, where a process has them, and have no value to
    # start with.
    return [message for number, message in found
            if re.match(r"\s*reg (?!(\[\S+\] )?\\\$\S+ ;)", lines[int(number) - 1])]


def to_vlt() -> str:
    """The waivers as a Verilator configuration file, to be given before the Verilog."""
    lines = ["`verilator_config"]
    for waiver in WAIVERS:
        match = "" if waiver.match == "*" else f' -match "{waiver.match}"'
        lines += [f"// {waiver.reason}",
                  f'lint_off -rule {waiver.rule} -file "*sparseloom.v"{match}']
    return "\n".join([*lines, ""])
