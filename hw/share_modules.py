"""Makes the converter's Verilog shorter: modules that are equal become one."""
import re

MODULE = re.compile(r"(?:^\(\*[^\n]*\*\)\n)*^module (\S+) ?(\(.*?^endmodule\n)\n?",
                    re.MULTILINE | re.DOTALL)
"""A module with its attributes; groups: its name, escaped or plain, and all that follows it."""

INSTANCE = re.compile(r"^  (\S+) (?= ?\S+ \($)", re.MULTILINE)
"""First line of an instance: the module's name, then the instance's and a parenthesis."""

TRIGGER = re.compile(r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ ")
"""Register that makes a process run once at time 0; its number differs in every module."""


def share_modules(text: str) -> str:
    """Verilog in which modules of the same body are one module.

    The converter writes a module for each instance. Of those that differ in nothing but their
    own name, and the names of equal modules below them, the first one serves all. A 12 x 12 unit
    has a seventh of the modules then, and simulators and synthesis take less time over it.

    Parameters
    ----------
    text : str
        Verilog as ``amaranth.back.verilog`` writes it.
    """
    text = TRIGGER.sub(r"\\$init ", text)
    kept = dict(MODULE.findall(text))
    while True:
        first_of: dict[str, str] = {}
        twins = {name: first for name, body in kept.items()
                 if (first := first_of.setdefault(body, name)) != name}
        if not twins:
            break
        kept = {name: _renamed(body, twins) for name, body in kept.items() if name not in twins}

    def written(match: re.Match) -> str:
        name, old = match.groups()
        return match.group(0).replace(old, kept[name]) if name in kept else ""

    return MODULE.sub(written, text)


def _renamed(body: str, twins: dict[str, str]) -> str:
    """A module whose instances are of the modules that stay."""
    return INSTANCE.sub(lambda match: f"  {twins.get(match.group(1), match.group(1))} ", body)
