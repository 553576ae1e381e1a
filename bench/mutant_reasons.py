"""Why mutants of the default run survive, each looked at in the netlist.

Names of wires change with the design, so a reason that fits no survivor any more is to be dropped
or renewed.
"""

REASONS: dict[str, str] = {
    "unit.strip_loader: const0 of mux B[15] to unit.strip_loader.$54":
        "Bit 15 of a strip's index: a job of 65,535 outputs has 21,845 strips of three.",
    "unit.strip_loader: const0 of not A[0]":
        "A header's mistake may be told behind one of its beats; the unit stops at the first and "
        "hears no second one.",
    "unit.strip_loader: const1 of and B[0] to unit.strip_loader.empty$219":
        "A packet is not judged before its words are written. With columns of 5 bytes and beats of "
        "4 they are written before its CRC is known, which is waited for as well.",
    "unit.strip_loader.expand: const1 of dff D[0] to unit.strip_loader.expand.$423":
        "Behind a mask of one bit the next one waits a cycle. All indices are given out, and in "
        "time for their columns' weights, which take more than a beat each.",
    "unit.counters: cnot0 of dff Q[2] to unit.counters.$signal$8":
        "Exchanges words 0 and 4, 1 and 5 of the totals' lower halves, for reads and writes alike. "
        "Not shown, since the memory's pins do differ.",
    "unit.result_port.pack.bytes: const0 of not A[0]":
        "Behind a packet's remainder the choice of bytes does not begin anew. The next packet's "
        "first word sets it, and no byte is chosen before its second. Not shown by the tools.",
}
"""By place and change, as ``bench.rtl_mutants`` prints them."""
