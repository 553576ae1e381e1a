"""The matrix unit: wiring of its parts, and nothing else."""
from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from sparseloom.hw.act_buffer import ActBuffer
from sparseloom.hw.act_loader import ActLoader
from sparseloom.hw.array import Array, skew
from sparseloom.hw.axi_lite import AxiLiteRegisters, AxiLiteSignature
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.counters import Counters
from sparseloom.hw.drain import PARAM_BANKS, Drain, param_stride
from sparseloom.hw.fault import Fault
from sparseloom.hw.floorplan import place
from sparseloom.hw.input_port import InputPort
from sparseloom.hw.issue import Issue
from sparseloom.hw.job_queue import JobQueue
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import ScaleParams, beat_layout, result_beat_layout
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.postprocess import PostProcess
from sparseloom.hw.registers import build_values
from sparseloom.hw.result_port import ResultPort
from sparseloom.hw.strip_buffer import StripBuffer
from sparseloom.hw.strip_loader import STRIP_BANKS, StripLoader
from sparseloom.hw.tile_walk import TileWalk
from sparseloom.hw.weight_word import word_count

ISSUE_LATENCY = StripBuffer.K_LATENCY + ActBuffer.LATENCY
"""Cycles from a column's address to its first operands at the array."""


def read_latency(config: ArrayConfig) -> int:
    """Cycles from a column's address until its last operands are being read."""
    return (StripBuffer.K_LATENCY + ActBuffer.ADDRESS_LATENCY
            + skew(max(config.rows, config.cols) - 1))


class Unit(wiring.Component):
    """Block-sparse matrix unit: registers, two input streams, one output stream.

    Parameters
    ----------
    config : ArrayConfig
    floorplan : str, optional
        Device on whose DSP blocks the array's multipliers are placed; target ``ecp5`` only.

    Members
    -------
    reset : In(1)
        For a clock domain without a reset of its own; 0 elsewhere.
    bus : In(AxiLiteSignature())
    irq : Out(1)
    weights, acts : In(stream of beat_layout(bus_bits))
    results : Out(stream of result_beat_layout(bus_bits))
    """

    def __init__(self, config: ArrayConfig, *, floorplan: str | None = None):
        self.config = config
        self.bels = None if floorplan is None else place(
            rows=config.rows, cols=word_count(config.cols, config.weight_bits), device=floorplan)
        beat = beat_layout(config.bus_bits)
        super().__init__({
            "reset": In(1), "bus": In(AxiLiteSignature()), "irq": Out(1),
            "weights": In(stream.Signature(beat)), "acts": In(stream.Signature(beat)),
            "results": Out(stream.Signature(result_beat_layout(config.bus_bits))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        rows, cols, lanes = config.rows, config.cols, config.post_lanes
        target, sum_bits = config.target, config.sum_bits

        registers = AxiLiteRegisters()
        fault = Fault()
        counters = Counters(target=target)
        weights_port = InputPort(bus_bits=config.bus_bits)
        acts_port = InputPort(bus_bits=config.bus_bits)

        queue = JobQueue(rows=rows, max_k=config.max_k, act_words=config.act_words,
                         depth=config.queue_depth, target=target)
        strip_loader = StripLoader(
            rows=rows, cols=cols, max_k=config.max_k, act_words=config.act_words,
            bus_bits=config.bus_bits, block_inputs=config.block_inputs,
            weight_bits=config.weight_bits, target=target)
        act_loader = ActLoader(rows=rows, cols=cols, max_k=config.max_k,
                               act_words=config.act_words, bus_bits=config.bus_bits)
        depth_strips = STRIP_BANKS * config.max_k
        depth_acts = ActLoader.HALVES * act_loader.half_words
        strip_buffer = StripBuffer(depth=depth_strips, max_k=config.max_k, cols=cols,
                                   w_delay=ActBuffer.LATENCY, weight_bits=config.weight_bits,
                                   target=target)
        act_buffer = ActBuffer(depth=depth_acts, max_k=config.max_k, rows=rows, target=target)
        params = SimpleDualPort(shape=ScaleParams, depth=PARAM_BANKS * param_stride(cols),
                                target=target, distributed=0)
        walk = TileWalk(rows=rows, cols=cols, lanes=lanes, max_k=config.max_k,
                        act_words=config.act_words, half_words=act_loader.half_words)
        room_words = config.result_words
        issue = Issue(rows=rows, cols=cols, lanes=lanes, max_k=config.max_k,
                      depth_strips=depth_strips, depth_acts=depth_acts, room_words=room_words,
                      release_delay=read_latency(config), target=target)
        array = Array(rows=rows, cols=cols, sum_bits=sum_bits, weight_bits=config.weight_bits,
                      target=target, bels=self.bels)
        drain = Drain(rows=rows, cols=cols, sum_bits=sum_bits, lanes=lanes,
                      latency=ISSUE_LATENCY + array.capture_latency - Issue.BEHIND, target=target)
        post = PostProcess(lanes=lanes, sum_bits=sum_bits, target=target)
        result_port = ResultPort(lanes=lanes, bus_bits=config.bus_bits, room_words=room_words,
                                 target=target)

        # A reset reaches each part from a register of its own. Doors, registers and counters stay
        # when the unit stops, and the array has nothing to forget; all else starts afresh after an
        # error or a clear, and behind a reset: by the flush, which is a register and one for each
        # part behind it. ``dropping`` is up while a part may still hold what is to be forgotten.
        # ``dead`` is the cycle in which the reset is on its way: the ports are silent.
        flush, flush_q, dropping = Signal(), Signal(), Signal()
        m.d.sync += [flush.eq(~fault.run | self.reset), flush_q.eq(flush),
                     dropping.eq(flush | flush_q)]

        def kept(name, value):
            m.submodules[name] = own = KeptRegister(1, target=target)
            m.d.comb += own.i.eq(value)
            return own.o

        dead, fresh = kept("dead", self.reset), kept("fresh", self.reset)
        for name, part in (("registers", registers), ("fault", fault), ("counters", counters),
                           ("weights_port", weights_port), ("acts_port", acts_port),
                           ("result_port", result_port), ("array", array)):
            m.submodules[name] = ResetInserter(kept(f"reset_{name}", self.reset))(part)
        for name, part in (("queue", queue), ("strip_loader", strip_loader),
                           ("act_loader", act_loader), ("strip_buffer", strip_buffer),
                           ("act_buffer", act_buffer), ("params", params), ("walk", walk),
                           ("issue", issue), ("drain", drain), ("post", post)):
            m.submodules[name] = ResetInserter(kept(f"flush_{name}", flush))(part)

        # Streams in.
        connect(m, flipped(self.weights), weights_port.i)
        connect(m, flipped(self.acts), acts_port.i)
        connect(m, weights_port.o, strip_loader.i)
        connect(m, acts_port.o, act_loader.i)
        connect(m, strip_loader.stage, queue.weights)
        connect(m, act_loader.stage, queue.acts)
        connect(m, walk.stage, queue.issue)
        connect(m, strip_loader.k_write, strip_buffer.k_write)
        connect(m, strip_loader.w_write, strip_buffer.w_write)
        connect(m, strip_loader.param_write, params.write)
        connect(m, strip_loader.lut_write, post.lut_write)
        connect(m, act_loader.write, act_buffer.write)

        # Tiles: walked, issued, computed.
        connect(m, walk.o, issue.i)
        m.d.comb += [
            strip_loader.lut_free.eq(queue.lut_free),
            walk.strip_ready.eq(strip_loader.ready), walk.strip_length.eq(strip_loader.length),
            strip_loader.take.eq(walk.strip_take),
            walk.acts_ready.eq(act_loader.ready), act_loader.take.eq(walk.acts_take),
            issue.waits_for.eq(walk.waits_for),
            strip_loader.release.eq(issue.strip_release),
            act_loader.release.eq(issue.acts_release),
            strip_buffer.addr.eq(issue.strip_addr), act_buffer.k.eq(strip_buffer.k),
            array.x.eq(act_buffer.x), array.w.eq(strip_buffer.w),
            array.shift.eq(drain.shift), drain.edge.eq(array.edge),
            drain.tile_end.eq(issue.tile_end), drain.tile.eq(issue.tile),
        ]
        base = issue.act_base
        for stage in range(Issue.BEHIND, StripBuffer.K_LATENCY):  # the base waits for the index
            base_q = Signal(base.shape(), name=f"base_{stage}", reset_less=True)
            m.d.sync += base_q.eq(base)
            base = base_q
        m.d.comb += act_buffer.base.eq(base)
        markers = Cat(issue.first, issue.last)      # the markers wait for the operands
        for stage in range(ISSUE_LATENCY):
            markers_q = Signal(2, name=f"markers_{stage}")
            m.d.sync += markers_q.eq(markers)
            markers = markers_q
        m.d.comb += Cat(array.first, array.last).eq(markers)

        # Results.
        offered, finished = result_port.offered, Signal()
        connect(m, drain.params, params.read)
        step = post.i.payload
        m.d.comb += [
            post.i.valid.eq(drain.valid),
            step.sums.eq(drain.sums), step.params.eq(drain.scale),
            step.zero_point.eq(drain.o_tile.zero_point), step.raw.eq(drain.o_tile.raw),
            step.use_lut.eq(drain.o_tile.lut), step.lut_bank.eq(drain.o_tile.lut_bank),
            step.last.eq(drain.last), step.keep.eq(drain.keep),
            result_port.valid.eq(post.o.valid), result_port.words.eq(post.o.payload.values),
            result_port.raw.eq(post.o.payload.raw), result_port.last.eq(post.o.payload.last),
            issue.returned.eq(result_port.returned),
            queue.retire.next.eq(offered),
        ]
        assert JobQueue.SHOW_LATENCY <= ResultPort.OFFERED_APART
        m.d.sync += finished.eq(result_port.finished)
        m.d.comb += [
            self.results.payload.eq(result_port.o.payload),
            self.results.valid.eq(result_port.o.valid & ~dead),
            result_port.o.ready.eq(self.results.ready),
        ]

        # Errors and clear.
        m.d.comb += [
            fault.strip.eq(strip_loader.strip),
            fault.clear.eq(registers.control.strobe & registers.control.clear),
            fault.results_open.eq(result_port.open), fault.results_idle.eq(result_port.idle),
            fault.inputs_started.eq(weights_port.started | acts_port.started),
            result_port.flush.eq(kept("flush_results", flush)), result_port.halt.eq(fault.halt),
            result_port.close.eq(fault.close), result_port.close_cause.eq(fault.cause),
            fault.drop.eq(dropping),    # a mistake still on its way when all is dropped
            fault.job.eq(queue.impossible_cause), fault.weights.eq(strip_loader.error),
            fault.acts.eq(act_loader.error),
        ]
        # Shut with the reset, and while the parts behind forget; each door by its own.
        for name, port in (("weights", weights_port), ("acts", acts_port)):
            m.d.comb += [
                port.run.eq(kept(f"open_{name}", ~flush & ~self.reset)),
                port.discard.eq(kept(f"discard_{name}", fault.clearing & ~self.reset)),
            ]

        # Registers.
        for name, member in AxiLiteSignature().members.items():
            outer, inner = getattr(self.bus, name), getattr(registers.bus, name)
            if member.flow is Out:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner & ~dead if name.endswith(("valid", "ready")) else inner)
        for name, fields in build_values(config).items():
            for field, value in fields.items():
                m.d.comb += getattr(getattr(registers, name.lower()), field).eq(value)
        job = queue.descriptor
        occupied, busy = Signal(), Signal()
        full, has_place, had_place = Signal(), Signal(init=1), Signal(init=1)
        queue_space, outstanding = Signal.like(queue.space), Signal.like(queue.outstanding)
        tag, done_tag, done_count = Signal(8), Signal(8), Signal(16)
        m.d.comb += [
            job.inputs.eq(registers.job_shape.inputs), job.outputs.eq(registers.job_shape.outputs),
            job.tokens.eq(registers.job_tokens.tokens), job.tag.eq(registers.job_tokens.tag),
            job.zero_point.eq(registers.job_config.zero_point),
            job.raw.eq(registers.job_config.raw), job.lut.eq(registers.job_config.lut),
            registers.job_push.refused.eq(fault.halt | full),
            queue.push.eq(registers.job_push.strobe),
            busy.eq(fault.run & ~dropping & occupied),
            registers.status.busy.eq(busy), registers.status.error.eq(fault.stopped),
            registers.status.clearing.eq(fault.clearing),
            registers.status.queue_space.eq(queue_space),
            registers.status.outstanding.eq(outstanding),
            registers.error.cause.eq(fault.cause), registers.error.strip.eq(fault.at_strip),
            registers.done.tag.eq(done_tag), registers.done.count.eq(done_count),
            registers.irq_status.done_set.eq(finished),
            registers.irq_status.error_set.eq(fault.raised),
            registers.irq_status.space_set.eq(has_place & ~had_place),
            # Down with the answer to the write that clears its cause.
            self.irq.eq(~dead & ((registers.irq_status.done & registers.irq_mask.done)
                                 | (registers.irq_status.error & registers.irq_mask.error)
                                 | (registers.irq_status.space & registers.irq_mask.space))),
            counters.count.eq(busy), counters.cause.eq(issue.cause),
            counters.clear.eq(registers.control.strobe & registers.control.counters_clear),
        ]
        # All of it a cycle late, alike.
        m.d.sync += [
            occupied.eq((queue.outstanding != 0) | ~result_port.idle),
            queue_space.eq(Mux(fault.halt, 0, queue.space)), full.eq(queue.space == 0),
            outstanding.eq(queue.outstanding),
            has_place.eq(queue.free_places != 0), had_place.eq(has_place | dropping),
        ]
        with m.If(offered):
            m.d.sync += tag.eq(queue.retire.job.tag)
        with m.If(finished):
            m.d.sync += [done_tag.eq(tag), done_count.eq(done_count + 1)]
        with m.If(fresh):
            m.d.sync += [occupied.eq(0), has_place.eq(1), had_place.eq(1), finished.eq(0),
                         done_tag.eq(0), done_count.eq(0)]
        connect(m, registers.counters, counters.bank)
        return m
