"""Why mutants of the default run survive, each looked at in the netlist.

Names of wires change with the design, so a reason that fits no survivor any more is to be dropped
or renewed.
"""

REASONS: dict[str, str] = {
    "unit.strip_loader: const0 of mux B[15] to unit.strip_loader.$54":
        "Bit 15 of a strip's index: a job of 65,535 outputs has 21,845 strips of three.",
    "unit.strip_loader.expand: const1 of not Y[0] to unit.strip_loader.expand.$322":
        "An index beyond K is given out, but whenever there is one the packet is refused, and "
        "`range` comes before all that the index could change.",
    "unit.counters: cnot0 of dff Q[2] to unit.counters.$signal$8":
        "Exchanges words 0 and 4, 1 and 5 of the totals' lower halves, for reads and writes alike. "
        "Not shown, since the memory's pins do differ.",
    "unit.strip_loader.param_gearbox: const0 of and Y[0] to unit.strip_loader.param_gearbox.$32":
        "Zeros behind a remainder of the parameters, which never have one: their section is padded "
        "to 16 bytes. Not shown: the proof would have to count its beats.",
    "unit.strip_loader.param_gearbox: cnot0 of and B[17] to unit.strip_loader.param_gearbox.$98":
        "The same: changes a bit only where there is a remainder.",
    "unit.strip_loader: const0 of not A[0]":
        "A header's mistake may be told behind one of its beats; the unit stops at the first and "
        "hears no second one.",
}
"""By place and change, as ``bench.rtl_mutants`` prints them."""
