"""The queue of jobs: checks a descriptor once, then shows it to each stage in turn."""
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
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

    A pushed descriptor is checked for ``ceil(M / rows)`` cycles, then shown to the stages.

    Parameters
    ----------
    rows, max_k, act_words, depth : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.

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

    def __init__(self, *, rows: int, max_k: int, act_words: int, depth: int):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self.rows, self.max_k, self.act_words, self.depth = rows, max_k, act_words, depth
        self.job_layout = job_layout(rows=rows, max_k=max_k, act_words=act_words)
        super().__init__({
            "push": In(1), "descriptor": In(descriptor_layout()),
            "space": Out(range(depth + 1)), "outstanding": Out(range(depth + 1)),
            "free_places": Out(range(depth + 1)), "impossible_cause": Out(8), "lut_free": Out(1),
            **{stage: In(stage_signature(self.job_layout)) for stage in STAGES},
        })

    def elaborate(self, platform):
        m = Module()
        jobs = Signal(data.ArrayLayout(self.job_layout, self.depth))
        head = Signal(range(self.depth))
        parity = Signal()

        checking = Signal()
        offered = Signal(descriptor_layout())
        left = Signal(16)
        words = Signal(range(self.act_words + self.max_k + 1))
        groups = Signal(range(self.act_words + 2))
        more_words = Signal(range(self.act_words + 2 * self.max_k + 1))
        accept, refused, unusable = Signal(), Signal(), Signal()

        m.d.comb += [
            unusable.eq((offered.inputs == 0) | (offered.outputs == 0) | (offered.tokens == 0)
                        | (offered.inputs > self.max_k) | (offered.raw & offered.lut)),
            more_words.eq(words + offered.inputs[:self.max_k.bit_length()]),
        ]
        with m.If(checking):
            m.d.comb += refused.eq(unusable | (more_words > self.act_words))
            m.d.comb += accept.eq(~refused & (left <= self.rows))
            m.d.sync += [left.eq(left - self.rows), words.eq(more_words), groups.eq(groups + 1)]
            with m.If(accept | refused):
                m.d.sync += checking.eq(0)
        with m.Elif(self.push & (self.space != 0)):
            m.d.sync += [checking.eq(1), offered.eq(self.descriptor),
                         left.eq(self.descriptor.tokens), words.eq(0), groups.eq(0)]
        with m.If(refused):
            m.d.comb += self.impossible_cause.eq(CAUSES["job"])

        with m.If(accept):
            job = jobs[head]
            m.d.sync += [
                job.inputs.eq(offered.inputs), job.outputs.eq(offered.outputs),
                job.groups.eq(groups + 1), job.last_tokens.eq(left), job.tag.eq(offered.tag),
                job.zero_point.eq(offered.zero_point), job.raw.eq(offered.raw),
                job.lut.eq(offered.lut), job.lut_bank.eq(parity),
                parity.eq(~parity),
                head.eq(head + 1),
            ]
            with m.If(head == self.depth - 1):
                m.d.sync += head.eq(0)

        waiting = {}
        for name in STAGES:
            stage = getattr(self, name)
            index = Signal(range(self.depth), name=f"{name}_index")
            count = Signal(range(self.depth + 1), name=f"{name}_count")
            waiting[name] = count
            leaves = Signal(name=f"{name}_leaves")
            m.d.comb += [
                stage.valid.eq(count != 0), stage.job.eq(jobs[index]),
                leaves.eq(stage.next & stage.valid),
            ]
            m.d.sync += count.eq(count + accept - leaves)
            with m.If(leaves):
                m.d.sync += index.eq(index + 1)
                with m.If(index == self.depth - 1):
                    m.d.sync += index.eq(0)
        alive = waiting["retire"]
        m.d.comb += [
            self.outstanding.eq(alive + checking),
            self.lut_free.eq(alive <= waiting["weights"] + 1),
        ]
        m.d.comb += self.free_places.eq(self.depth - alive)
        with m.If(~checking):
            m.d.comb += self.space.eq(self.free_places)
        return m
