"""Why mutants of the default run survive, each looked at in the netlist.

Names of wires change with the design, so a reason that fits no survivor any more is to be dropped
or renewed.
"""

REASONS: dict[str, str] = {
    "unit.result_port.pack.sums: const1 of or A[0] to unit.result_port.pack.sums.$25":
        "No change: the ring is one-hot, so that the other term of `gives` says the same.",
    "unit.fault: inv of dff Q[7] to unit.fault.strip":
        "No change: the register is copied when it has held for exactly one cycle, which inverts "
        "the bit a second time.",
    "unit.queue: cnot1 of mux A[12]":
        "No change: `beyond` is used only in cycles in which it is loaded or counts; this is what "
        "it holds in others.",
    "unit.issue: inv of mux B[0]":
        "No change: a release behind a flush meets a loader that holds nothing, and `counted` "
        "leaves none at none.",
    "unit.queue: const0 of dff Q[3] to unit.queue.some_tokens":
        "No change in this build: so many tokens do not fit the buffer, and are refused with the "
        "same cause.",
    "unit.post.lane0.multiplier: cnot1 of dff Q[0] to unit.post.lane0.product":
        "No change: the lowest bit of a product decides a rounding only at shift 1, where any "
        "product but 0 is clamped.",
    "unit.strip_loader.expand: const0 of and Y[0] to unit.strip_loader.expand.$54":
        "One of two guards against bitmap bits beyond K: the masks of such a block are beyond K "
        "as well, and the block count differs. Every spoilt bitmap of the tests meets both.",
    "unit.strip_loader.expand: const0 of or B[0] to unit.strip_loader.expand.left_over":
        "The same guard, one step on.",
    "unit.queue.retire_rest_opens: const1 of dff Q[0] to unit.queue.o$131":
        "A gap: tags of jobs that wait in a full queue may be overwritten by the next descriptor, "
        "and the random cases read DONE.tag only when all jobs are through.",
}
"""By place and change, as ``bench.rtl_mutants`` prints them."""
