"""The queue of jobs: checks a descriptor once, then shows it to each stage in turn."""
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, Signature

from sparseloom.model.packed import spec

CAUSES = {name: code for code, (name, _) in spec.ERROR_CAUSES.items()}

STAGES = ("weights", "acts", "issue", "retire")
"""Stages that meet every job once, in order; a job's place is free again after ``retire``."""


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
    """One stage's view, from the stage: ``valid`` job at the front, ``next`` when it is done."""
    return Signature({"valid": In(1), "job": In(job), "next": Out(1)})


class JobQueue(wiring.Component):
    """Jobs in order, each stage at its own.

    A pushed descriptor is checked for ``ceil(M / rows) + JUDGE_CYCLES`` cycles, then shown to the
    stages ``SHOW_LATENCY`` cycles later; a stage sees its next job as long after it is done.

    Parameters
    ----------
    rows, max_k, act_words, depth : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.
    target : str
        ``ecp5`` keeps the jobs in look-up tables, a copy for each stage; as flip-flops they would
        be as many as a row of cells has, with a multiplexer for each stage.

    Members
    -------
    push : In(1)
        Take ``descriptor``; ignored unless ``space``.
    descriptor : In(descriptor_layout())
    space : Out(range(depth + 1))
        Jobs that may be pushed now; 0 while one is being checked.
    outstanding : Out(range(depth + 1))
        Jobs pushed and not retired.
    free_places : Out(range(depth + 1))
        Places not taken, while checking too.
    impossible_cause : Out(8)
        Error cause for one cycle, else 0: the descriptor just checked cannot run. K, N or M is
        zero, K is above ``max_k``, K * G above ``act_words``, or a table is asked for on raw sums.
    weights, acts, issue, retire : stage signatures
        ``valid`` is up while the stage has a job it has not finished.
    lut_free : Out(1)
        The weights stage may load its job's table: at most one older job still uses the other.
    """

    JUDGE_CYCLES = 3
    """Cycles behind the count of a job's groups: sums compared, verdict, acceptance."""

    SHOW_LATENCY = 2
    """Cycles from the end of the check, or of a stage's job, to ``valid`` with the next job."""

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
        # Two words at least: an address without bits is two unknown bits in Verilog. A place is
        # never shown in the cycle of its write.
        attrs: dict = {"no_rw_check": 1}
        if self.target == "ecp5":
            attrs["ram_style"] = "distributed"
        m.submodules.jobs = jobs = Memory(shape=self.job_layout, depth=max(2, self.depth), init=[],
                                          attrs=attrs)
        write = jobs.write_port()
        head = Signal(range(self.depth))
        parity = Signal()

        # Nothing is decided in the cycle in which it is compared.
        checking, counting = Signal(), Signal()
        judged = Signal(self.JUDGE_CYCLES)      # cycles behind the count, one hot
        offered = Signal(descriptor_layout(), reset_less=True)
        beyond = Signal(signed(17), reset_less=True)    # tokens behind this group, less one
        last_tokens = Signal(range(self.rows + 1), reset_less=True)
        # The comparison is a cycle late, so two more sums may be added meanwhile.
        words = Signal(range(self.act_words + 3 * self.max_k + 1), reset_less=True)
        groups = Signal(range(self.act_words + 4), reset_less=True)
        too_many, unusable = Signal(), Signal()
        accept, refused, free = Signal(), Signal(), Signal(range(self.depth + 1), init=self.depth)
        unfit = Signal(5)

        m.d.sync += [
            unfit.eq(Cat(offered.inputs == 0, offered.outputs == 0, offered.tokens == 0,
                         offered.inputs > self.max_k, offered.raw & offered.lut)),
            unusable.eq(unfit.any()),
            too_many.eq(checking & (words > self.act_words)),
            judged.eq(Cat(counting & (beyond[-1] | too_many), judged)),
            accept.eq(judged[-2] & ~unusable & ~too_many),
            refused.eq(judged[-2] & (unusable | too_many)),
        ]
        with m.If(counting):
            m.d.sync += [beyond.eq(beyond - self.rows), groups.eq(groups + 1),
                         words.eq(words + offered.inputs[:self.max_k.bit_length()]),
                         last_tokens.eq((beyond + self.rows + 1)[:len(last_tokens)])]
            with m.If(beyond[-1] | too_many):
                m.d.sync += counting.eq(0)
        with m.If(judged[-1]):
            m.d.sync += checking.eq(0)
        with m.If(~checking):
            m.d.sync += [
                offered.eq(self.descriptor), words.eq(0), groups.eq(0),
                beyond.eq(self.descriptor.tokens - (self.rows + 1)),
            ]
            with m.If(self.push & (free != 0)):
                m.d.sync += [checking.eq(1), counting.eq(1)]
        with m.If(refused):
            m.d.comb += self.impossible_cause.eq(CAUSES["job"])

        job = write.data
        m.d.comb += [
            write.en.eq(accept), write.addr.eq(head),
            job.inputs.eq(offered.inputs), job.outputs.eq(offered.outputs), job.groups.eq(groups),
            job.last_tokens.eq(last_tokens), job.tag.eq(offered.tag),
            job.zero_point.eq(offered.zero_point), job.raw.eq(offered.raw),
            job.lut.eq(offered.lut), job.lut_bank.eq(parity),
        ]
        with m.If(accept):
            m.d.sync += [
                parity.eq(~parity),
                head.eq(head + 1),
            ]
            with m.If(head == self.depth - 1):
                m.d.sync += head.eq(0)

        waiting, leaving = {}, {}
        for name in STAGES:
            stage = getattr(self, name)
            index = Signal(range(self.depth), name=f"{name}_index")
            count = Signal(range(self.depth + 1), name=f"{name}_count")
            leaves = Signal(name=f"{name}_leaves")
            waiting[name], leaving[name] = count, leaves
            read = jobs.read_port()
            valid = Signal(name=f"{name}_valid")
            m.d.comb += [
                read.addr.eq(index), stage.valid.eq(valid), stage.job.eq(read.data),
                leaves.eq(stage.next & stage.valid),
            ]
            m.d.sync += valid.eq((count != 0) & ~leaves)
            m.d.sync += count.eq(count + accept - leaves)
            with m.If(leaves):
                m.d.sync += index.eq(index + 1)
                with m.If(index == self.depth - 1):
                    m.d.sync += index.eq(0)
        behind = Signal(range(self.depth + 1))  # jobs past the weights stage, not retired
        m.d.sync += [
            behind.eq(behind + leaving["weights"] - leaving["retire"]),
            free.eq(free - accept + leaving["retire"]),
        ]
        m.d.comb += [
            self.outstanding.eq(waiting["retire"] + checking),
            self.lut_free.eq(behind <= 1),
            self.free_places.eq(free),
        ]
        with m.If(~checking):
            m.d.comb += self.space.eq(free)
        return m
