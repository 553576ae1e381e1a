"""The queue of jobs: checks a descriptor once, then shows it to each stage in turn."""
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.memory import inferred_memory
from sparseloom.model.packed import spec

CAUSES = {name: code for code, (name, _) in spec.ERROR_CAUSES.items()}

FIELDS = {
    "weights": ("inputs", "outputs", "tag", "lut", "lut_bank"),
    "acts": ("inputs", "groups"),
    "issue": ("inputs", "outputs", "groups", "last_tokens", "zero_point", "raw", "lut", "lut_bank"),
    "retire": ("tag",),
}
"""What each stage reads of a job."""

STAGES = tuple(FIELDS)
"""Stages that meet every job once, in order; a job's place is free again after ``retire``."""

CHECKED = ("groups", "last_tokens")
"""Fields of a job that only its check finds; the others are the descriptor's."""

SIZES = ("inputs", "outputs")
"""Fields of the descriptor that are used together, and apart from its others."""


def descriptor_layout() -> data.StructLayout:
    """A job as the host writes it: K, N and M, what to do with the sums, and a tag."""
    return data.StructLayout({
        "inputs": 16, "outputs": 16, "tokens": 16, "tag": spec.TAG_BITS,
        "zero_point": signed(8), "raw": 1, "lut": 1,
    })


def job_layout(*, rows: int, max_k: int, act_words: int) -> data.StructLayout:
    """A job that passed the checks: G token groups, the last of ``last_tokens`` rows."""
    return data.StructLayout({
        "inputs": range(max_k + 1), "outputs": 16, "groups": range(act_words + 1),
        "last_tokens": range(rows + 1), "tag": spec.TAG_BITS,
        "zero_point": signed(8), "raw": 1, "lut": 1, "lut_bank": 1,
    })


def stage_signature(job: data.StructLayout) -> Signature:
    """One stage's view, from the stage: ``valid`` job at the front, ``next`` when it is done.

    Fields of ``job`` that are not in the stage's ``FIELDS`` are 0.
    """
    return Signature({"valid": In(1), "job": In(job), "next": Out(1)})


class JobQueue(wiring.Component):
    """Jobs in order, each stage at its own.

    A pushed descriptor is checked for ``ceil(M / rows) + JUDGE_CYCLES`` cycles, then shown to the
    stages ``SHOW_LATENCY`` cycles later; a stage sees its next job ``NEXT_LATENCY`` cycles after it
    is done, ``retire`` after ``SHOW_LATENCY``.

    Parameters
    ----------
    rows, max_k, act_words, depth : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.
    target : str
        ``ecp5`` keeps the jobs in look-up tables, a copy for each stage of what it reads; as
        flip-flops they would be as many as a row of cells has, with a multiplexer for each stage.

    Members
    -------
    push : In(1)
        Take ``descriptor``; ignored unless ``space``.
    descriptor : In(descriptor_layout())
        Stays for a cycle after it was taken.
    space : Out(range(depth + 1))
        Jobs that may be pushed now; 0 while one is being checked, and in the cycle behind.
    outstanding : Out(range(depth + 1))
        Jobs pushed and not retired.
    free_places : Out(range(depth + 1))
        Places not taken, while checking too; one that comes free counts a cycle later.
    impossible_cause : Out(8)
        Error cause for one cycle, else 0: the descriptor just checked cannot run. K, N or M is
        zero, K is above ``max_k``, K * G above ``act_words``, or a table is asked for on raw sums.
    weights, acts, issue, retire : stage signatures
        ``valid`` is up while the stage has a job it has not finished; ``retire.next`` never comes
        without it.
    lut_free : Out(1)
        The weights stage may load its job's table: at most one older job still uses the other.
        A register, right when the stage sees its job.
    """

    JUDGE_CYCLES = 4
    """Cycles beside the count of a job's groups: before it the first group is taken off the tokens,
    behind it sums compared, verdict, acceptance."""

    SHOW_LATENCY = 2
    """Cycles from the end of the check, or of the job to retire, to ``valid`` with the next job."""

    NEXT_LATENCY = SHOW_LATENCY + 1
    """The same for the other stages: what ends their jobs has come far, and is registered first."""

    def __init__(self, *, rows: int, max_k: int, act_words: int, depth: int,
                 target: str = "generic"):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self.rows, self.max_k, self.act_words, self.depth = rows, max_k, act_words, depth
        self.target = target
        self.job_layout = job_layout(rows=rows, max_k=max_k, act_words=act_words)
        super().__init__({
            "push": In(1), "descriptor": In(descriptor_layout()),
            "space": Out(range(depth + 1)), "outstanding": Out(range(depth + 1)),
            "free_places": Out(range(depth + 1)), "impossible_cause": Out(8), "lut_free": Out(1),
            **{stage: In(stage_signature(self.job_layout)) for stage in STAGES},
        })

    def elaborate(self, platform):
        m = Module()
        head = Signal(range(self.depth))
        parity = Signal()

        # Nothing is decided in the cycle in which it is compared.
        checking, first, counting = Signal(), Signal(), Signal()
        judged = Signal(self.JUDGE_CYCLES - 1)  # cycles behind the count, one hot
        offered = self.descriptor
        inputs = Signal(self.job_layout.members["inputs"], reset_less=True)
        # Tokens; from the count on, those behind this group, less one.
        beyond = Signal(signed(17), reset_less=True)
        last_tokens = Signal(range(self.rows + 1), reset_less=True)
        # The comparison is a cycle late, so two more sums may be added meanwhile.
        words = Signal(range(self.act_words + 3 * self.max_k + 1), reset_less=True)
        groups = Signal(range(self.act_words + 4), reset_less=True)
        too_many, unusable = Signal(), Signal()
        accept, refused, free = Signal(), Signal(), Signal(range(self.depth + 1), init=self.depth)
        # Of the descriptor: K of more bits than ``inputs`` has, a few bits each of N and of M, and
        # what is asked for twice.
        large, asked_twice = Signal(reset_less=True), Signal(reset_less=True)
        some_outputs, some_tokens = Signal(4, reset_less=True), Signal(4, reset_less=True)
        unfit = Signal(4, reset_less=True)
        taken, accept_next = Signal(), Signal()
        # A descriptor may be taken, from the cycle behind a check's end or a place's coming free.
        opens, opens_next = Signal(init=1), Signal()

        m.d.comb += [
            taken.eq(self.push & opens),
            opens_next.eq(free.any() & ~checking & ~taken),
            accept_next.eq(judged[-2] & ~unusable & ~too_many),
        ]
        m.d.sync += [
            opens.eq(opens_next),
            unfit.eq(Cat((inputs == 0) | large | (inputs > self.max_k), ~some_outputs.any(),
                         ~some_tokens.any(), asked_twice)),
            unusable.eq(unfit.any()),
            too_many.eq(checking & (words > self.act_words)),
            judged.eq(Cat(counting & (beyond[-1] | too_many), judged)),
            accept.eq(accept_next),
            refused.eq(judged[-2] & (unusable | too_many)),
        ]
        with m.If(first | counting):
            m.d.sync += beyond.eq(beyond - Mux(first, self.rows + 1, self.rows))
        m.d.sync += first.eq(taken)
        with m.If(first):
            m.d.sync += counting.eq(1)
        with m.If(counting):
            m.d.sync += [groups.eq(groups + 1), words.eq(words + inputs),
                         last_tokens.eq((beyond + self.rows + 1)[:len(last_tokens)])]
            with m.If(beyond[-1] | too_many):
                m.d.sync += counting.eq(0)
        with m.If(judged[-1]):
            m.d.sync += checking.eq(0)
        with m.If(~checking):
            m.d.sync += [
                inputs.eq(offered.inputs[:len(inputs)]), words.eq(0), groups.eq(0),
                beyond.eq(offered.tokens),
                large.eq(offered.inputs[len(inputs):].any()),
                asked_twice.eq(offered.raw & offered.lut),
                *(some.eq(Cat(field.word_select(at, 4).any() for at in range(len(some))))
                  for some, field in ((some_outputs, offered.outputs),
                                      (some_tokens, offered.tokens))),
            ]
        with m.If(taken):
            m.d.sync += checking.eq(1)
        with m.If(refused):
            m.d.comb += self.impossible_cause.eq(CAUSES["job"])

        found = {**{name: offered[name] for name in ("inputs", "outputs", "tag", "zero_point",
                                                     "raw", "lut")},
                 "lut_bank": parity, "groups": groups, "last_tokens": last_tokens}
        head_next = Signal.like(head)
        m.d.comb += head_next.eq(Mux(accept, self._behind(head), head))
        m.d.sync += [parity.eq(parity ^ accept), head.eq(head_next)]

        def own(name, value, init=0):
            """A register for one memory alone: they lie apart."""
            if not len(value):
                return value
            m.submodules[name] = register = KeptRegister(len(value), init=init, target=self.target)
            m.d.comb += register.i.eq(value)
            return register.o

        waiting, leaving = {}, {}
        for name in STAGES:
            stage = getattr(self, name)
            index = Signal(range(self.depth), name=f"{name}_index")
            count = Signal(range(self.depth + 1), name=f"{name}_count")
            leaves, left = Signal(name=f"{name}_leaves"), Signal(name=f"{name}_left")
            waiting[name], leaving[name] = count, left
            if name == "retire":
                m.d.comb += left.eq(leaves)
            else:
                m.d.sync += left.eq(leaves)
            valid = Signal(name=f"{name}_valid")
            m.d.comb += [stage.valid.eq(valid),
                         leaves.eq(stage.next & (stage.valid if name != "retire" else 1))]
            index_next = Signal.like(index, name=f"{name}_index_next")
            m.d.comb += index_next.eq(Mux(left, self._behind(index), index))
            m.d.sync += [index.eq(index_next), valid.eq((count != 0) & ~leaves & ~left),
                         count.eq(count + accept - left)]
            for part, fields in self._parts(name):
                shape = data.StructLayout({field: self.job_layout.members[field]
                                           for field in fields})
                memory = inferred_memory(shape=shape, depth=self.depth,
                                         distributed=self.target == "ecp5")
                m.submodules[f"{name}_{part}"] = memory
                write, read = memory.write_port(), memory.read_port()
                # What the descriptor says is written over until one is taken, each time a cycle
                # later; a place is never shown in the cycle of its write.
                allowed = (own(f"{name}_{part}_accept", accept_next) if part == "checked"
                           else own(f"{name}_{part}_opens", opens, init=1))
                m.d.comb += [write.en.eq(allowed),
                             write.addr.eq(own(f"{name}_{part}_head", head_next)),
                             read.addr.eq(own(f"{name}_{part}_index", index_next))]
                for field in fields:
                    m.d.comb += [write.data[field].eq(found[field]),
                                 stage.job[field].eq(read.data[field])]
        behind = Signal(range(self.depth + 1))  # jobs past the weights stage, not retired
        table_free, retired = Signal(init=1), Signal()
        m.d.comb += [
            self.outstanding.eq(waiting["retire"] + checking),
            self.free_places.eq(free), self.lut_free.eq(table_free),
        ]
        m.d.sync += [
            retired.eq(leaving["retire"]),
            behind.eq(behind + leaving["weights"] - retired),
            table_free.eq(behind <= 1), free.eq(free - accept + retired),
        ]
        with m.If(opens):
            m.d.comb += self.space.eq(free)
        return m

    def _behind(self, place):
        """The place behind one; the last is followed by the first."""
        if self.depth & (self.depth - 1) == 0:
            return (place + 1)[:len(place)]
        return Mux(place == self.depth - 1, 0, place + 1)

    @staticmethod
    def _parts(stage):
        """What a stage reads, by the memory that has it: name and fields of each."""
        parts = {}
        for field in FIELDS[stage]:
            part = "checked" if field in CHECKED else "sizes" if field in SIZES else "rest"
            parts.setdefault(part, []).append(field)
        return parts.items()
