"""Loads the weight stream: checks each packet, expands its masks, fills the strip buffer."""
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sparseloom.hw.crc import Crc32
from sparseloom.hw.drain import PARAM_BANKS, param_stride
from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.job_queue import CAUSES, job_layout, stage_signature
from sparseloom.hw.layouts import Header, OutputParams, ScaleParams, beat_layout, write_signature
from sparseloom.hw.mask_expand import MaskExpand
from sparseloom.hw.postprocess import LutWrite
from sparseloom.hw.weight_word import from_stream, word_layout
from sparseloom.model.packed import spec

UNIT_BITS = 8 * spec.ALIGN_BYTES
CRC_BITS = dict(spec.TRAILER)["crc"]
STRIP_BANKS = 2
MISTAKES = 16                   # that the loader tells apart, some of the same cause


class StripLoader(wiring.Component):
    """From the weight stream's packets to loaded strips, one bank after the other.

    A packet is header, sections and trailer (``docs/format.md``); every field is checked, and a
    strip is announced only when its CRC held. Indices are written while the weights still
    arrive; neither waits for the other.

    Parameters
    ----------
    rows, cols, max_k, act_words, bus_bits, block_inputs, weight_bits : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.

    Members
    -------
    i : In(stream of beat_layout(bus_bits))
        Not ready until a job waits and a bank is free. Then one beat a cycle, or less where words
        are narrower than beats: a column's weights, 8 bytes of parameters, a byte of a table a
        cycle. A few cycles pass between packets, and a strip is complete when each of its indices
        had its cycle.
    stage : Out(stage_signature)
        To the job queue.
    lut_free : In(1)
        The job's table bank is not in use.
    k_write, w_write : Out(write_signature)
        Input index and ``cols`` weights (words of :mod:`~.weight_word`) at
        ``STRIP_BANKS * column + bank``: the banks alternate, so that both together need no more
        words than ``STRIP_BANKS * max_k``.
    param_write : Out(write_signature)
        At ``param bank * param_stride(cols) + output``.
    lut_write : Out(LutWrite)
    ready : Out(1)
        A loaded strip waits to be walked.
    length : Out(range(max_k + 1))
        Its columns; 1 (of weight zero) for an empty strip.
    take : In(1)
        On to the next strip.
    release : In(1)
        The oldest bank may be loaded anew.
    error : Out(8)
        Cause code for one cycle, else 0; ``ERROR_LATENCY`` cycles after what it tells of. No new
        packet is begun meanwhile.
    strip : Out(16)
        Index of the strip that was being loaded ``ERROR_LATENCY`` cycles before.
    """

    ERROR_LATENCY = 2
    """Cycles from a mistake to ``error``: what is wrong, the first of its causes."""

    SETTLE_CYCLES = Crc32.VERDICT_LATENCY
    """Cycles behind a packet's last beat until its CRC is known; a strip is ready in the next."""

    class _State(enum.Enum):
        WAIT = 0       # for a job, a free bank, a free table
        HEADER = 1
        CHECK = 2
        BITMAP = 3
        MASKS = 4
        WEIGHTS = 5
        PARAMS = 6
        TABLE = 7
        TRAILER = 8
        FINISH = 9     # the last words settle, the masks are expanded, the CRC is judged

    def __init__(self, *, rows: int, cols: int, max_k: int, act_words: int, bus_bits: int,
                 block_inputs: int, weight_bits: int = 8):
        self.cols, self.max_k, self.bus_bits = cols, max_k, bus_bits
        self.block_inputs, self.weight_bits = block_inputs, weight_bits
        self.column_bytes = spec.column_bytes(cols, weight_bits)
        depth = STRIP_BANKS * max_k
        super().__init__({
            "i": In(stream.Signature(beat_layout(bus_bits))),
            "stage": Out(stage_signature(job_layout(rows=rows, max_k=max_k,
                                                    act_words=act_words))),
            "lut_free": In(1),
            "k_write": Out(write_signature(depth, range(max_k))),
            "w_write": Out(write_signature(depth, word_layout(cols, weight_bits))),
            "param_write": Out(write_signature(PARAM_BANKS * param_stride(cols), ScaleParams)),
            "lut_write": Out(LutWrite),
            "ready": Out(1), "length": Out(range(max_k + 1)),
            "take": In(1), "release": In(1),
            "error": Out(8), "strip": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        bits, bus_bytes, q = self.bus_bits, self.bus_bits // 8, self.block_inputs
        beats_per_unit = UNIT_BITS // bits
        job, beat = self.stage.job, self.i.payload
        S = self._State
        state = Signal(S)

        # Beats of the section at hand, in units of 16 bytes.
        unit_limit = -(-self.max_k * max(self.cols, 8) // spec.ALIGN_BYTES) + 64
        units = Signal(range(unit_limit))          # still to come, this one included
        last_unit = Signal()
        beat_in_unit = Signal(range(beats_per_unit))
        unit_end, section_end, taken, accepting = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            unit_end.eq(beat_in_unit == beats_per_unit - 1),
            section_end.eq(unit_end & last_unit),
            taken.eq(self.i.valid & self.i.ready),
        ]
        with m.If(taken):
            m.d.sync += beat_in_unit.eq(beat_in_unit + 1)
            with m.If(unit_end):
                m.d.sync += [beat_in_unit.eq(0), units.eq(units - 1),
                             last_unit.eq(units == 2)]

        ended = Signal()    # TLAST was taken: what follows is another job's
        with m.If(state == S.WAIT):
            m.d.sync += ended.eq(0)
        with m.Elif(taken & beat.last):
            m.d.sync += ended.eq(1)

        # CRC over the whole packet, its own field included.
        m.submodules.crc = crc = Crc32(bus_bytes)
        m.d.comb += [crc.valid.eq(taken), crc.data.eq(beat.data)]

        header = Signal(Header)
        with m.If(taken & (state == S.HEADER)):
            m.d.sync += header.eq(Cat(header.as_value(), beat.data)[bits:])

        # Masks to indices.
        m.submodules.expand = expand = MaskExpand(beat_bits=bits, block_inputs=q, max_k=self.max_k)
        # One more than each section has: a FIFO's output register fills a cycle after the write.
        fifo_beats = -(-self.max_k // UNIT_BITS) * beats_per_unit
        m.submodules.bitmap_fifo = bitmap_fifo = SyncFIFOBuffered(
            width=bits, depth=-(-self.max_k // (q * UNIT_BITS)) * beats_per_unit + 1)
        m.submodules.mask_fifo = mask_fifo = SyncFIFOBuffered(width=bits, depth=fifo_beats + 1)
        for fifo, port in ((bitmap_fifo, expand.bitmap), (mask_fifo, expand.masks)):
            m.d.comb += [
                fifo.w_data.eq(beat.data),
                port.payload.eq(fifo.r_data), port.valid.eq(fifo.r_rdy),
            ]
        settling = Signal()  # leftovers of the packet before are thrown away
        m.d.comb += [
            settling.eq((state == S.WAIT) | (state == S.HEADER)),
            bitmap_fifo.r_en.eq(expand.bitmap.ready | settling),
            mask_fifo.r_en.eq(expand.masks.ready | settling),
            bitmap_fifo.w_en.eq(taken & (state == S.BITMAP)),
            mask_fifo.w_en.eq(taken & (state == S.MASKS)),
            expand.inputs.eq(job.inputs),
        ]

        # Bytes to words.
        m.submodules.weight_gearbox = weights = Gearbox(bus_bytes, self.column_bytes)
        m.submodules.param_gearbox = params = Gearbox(bus_bytes, 8)
        m.submodules.table_gearbox = table = Gearbox(bus_bytes, 1)
        for gearbox, section in ((weights, S.WEIGHTS), (params, S.PARAMS), (table, S.TABLE)):
            m.d.comb += [
                gearbox.i.valid.eq(self.i.valid & ~ended & (state == section)),
                gearbox.i.payload.data.eq(beat.data),
                gearbox.i.payload.last.eq(section_end),
                gearbox.o.ready.eq(1),
            ]

        with m.Switch(state):
            with m.Case(S.HEADER, S.BITMAP, S.MASKS, S.TRAILER):
                m.d.comb += accepting.eq(1)
            with m.Case(S.WEIGHTS):
                m.d.comb += accepting.eq(weights.i.ready)
            with m.Case(S.PARAMS):
                m.d.comb += accepting.eq(params.i.ready)
            with m.Case(S.TABLE):
                m.d.comb += accepting.eq(table.i.ready)
        m.d.comb += self.i.ready.eq(accepting & ~ended)

        bank, loaded = Signal(range(STRIP_BANKS)), Signal(range(STRIP_BANKS + 1))
        param_bank = Signal(range(PARAM_BANKS))
        k_count, w_count = Signal(range(self.max_k + 2)), Signal(range(self.max_k + 2))
        param_count, lut_count = Signal(range(self.cols + 1)), Signal(range(spec.LUT_ENTRIES + 1))
        # Places still free for indices and weights, less one: below 0 there is none, by the sign.
        k_left, w_left = Signal(signed(self.max_k.bit_length() + 1)), Signal(
            signed(self.max_k.bit_length() + 1))
        columns = Signal(range(self.max_k + 1))
        empty = Signal()
        m.d.comb += [
            columns.eq(header.columns), empty.eq(columns == 0),
            self.k_write.addr.eq(Cat(bank, k_count)),
            self.k_write.data.eq(expand.k),
            self.k_write.en.eq(expand.valid & ~k_left[-1]),
            self.w_write.addr.eq(Cat(bank, w_count)),
            self.w_write.data.eq(from_stream(weights.o.payload.data, self.cols,
                                             self.weight_bits)),
            self.w_write.en.eq(weights.o.valid & ~w_left[-1]),
        ]
        surplus = Signal()  # more indices than the header announced
        with m.If(expand.valid):
            m.d.sync += [k_count.eq(k_count + 1), surplus.eq(surplus | k_left[-1])]
            with m.If(~k_left[-1]):
                m.d.sync += k_left.eq(k_left - 1)
        with m.If(weights.o.valid & ~w_left[-1]):
            m.d.sync += [w_count.eq(w_count + 1), w_left.eq(w_left - 1)]

        scale = Signal(OutputParams)
        bad_param, bad_reserved, param_taken = Signal(), Signal(), Signal()
        m.d.comb += [
            scale.eq(params.o.payload.data),
            param_taken.eq(params.o.valid & (param_count < self.cols)),
            self.param_write.en.eq(param_taken),
            self.param_write.addr.eq(Cat(param_count[:(self.cols - 1).bit_length()], param_bank)),
            self.param_write.data.bias.eq(scale.bias),
            self.param_write.data.mult.eq(scale.mult),
            self.param_write.data.shift.eq(scale.shift),
            self.lut_write.en.eq(table.o.valid),
            self.lut_write.bank.eq(job.lut_bank),
            self.lut_write.addr.eq(lut_count),
            self.lut_write.data.eq(table.o.payload.data),
        ]
        with m.If(param_taken):
            m.d.sync += param_count.eq(param_count + 1)
            with m.If(scale.reserved != 0):
                m.d.sync += bad_reserved.eq(1)
            with m.If((scale.mult < spec.MULT_MIN) | (scale.shift < spec.SHIFT_MIN)
                      | (scale.shift > spec.SHIFT_MAX)):
                m.d.sync += bad_param.eq(1)
        with m.If(table.o.valid):
            m.d.sync += lut_count.eq(lut_count + 1)

        # The packet that is due.
        table_due = Signal()
        strip = Signal(16)
        outputs_left = Signal(16)   # of the job, this strip included
        last_strip, final = Signal(), Signal()
        fresh = Signal(init=1)      # no packet of this job was begun
        m.d.comb += [
            last_strip.eq(outputs_left <= self.cols),
            final.eq(~table_due & last_strip),
        ]

        job_blocks = Signal(range(-(-self.max_k // q) + 1), reset_less=True)
        m.d.sync += job_blocks.eq((job.inputs + (q - 1)) >> (q.bit_length() - 1))
        header_checks = [
            ("version", header.version != spec.STREAM_VERSION),
            ("kind", header.kind != Mux(table_due, spec.KIND_LUT, spec.KIND_STRIP)),
            ("reserved", header.reserved != 0),
            ("tag", header.tag != job.tag),
            ("geometry", (header.cols != self.cols) | (header.block_inputs != q)
             | (header.inputs != job.inputs)),
            ("weight_bits", header.weight_bits != self.weight_bits),
            ("strip", header.strip != strip),
            ("count", (header.columns > job.inputs) | (header.blocks > job_blocks)
             | (header.blocks > header.columns)
             | (table_due & ((header.columns != 0) | (header.blocks != 0)))),
        ]

        def as_units(bit_count):
            return (bit_count + (UNIT_BITS - 1)) >> (UNIT_BITS.bit_length() - 1)

        size = self.column_bytes
        weight_bytes = Signal(range(self.max_k * size + 1))     # shifts and adds: no multiplier
        m.d.comb += weight_bytes.eq(sum(columns << bit for bit in range(size.bit_length())
                                        if size >> bit & 1))
        weight_units, bitmap_units, mask_units = (
            Signal(units.shape(), name=name, reset_less=True)
            for name in ("weight_units", "bitmap_units", "mask_units"))
        m.d.sync += [
            weight_units.eq(as_units(weight_bytes << 3)),
            bitmap_units.eq(as_units(job_blocks)),
            mask_units.eq(as_units(header.blocks << (q.bit_length() - 1))),
        ]

        def enter(section, count):
            m.d.sync += [state.eq(section), units.eq(count), last_unit.eq(count == 1)]

        def enter_params():
            enter(S.PARAMS, -(-self.cols * 8 // spec.ALIGN_BYTES))

        def enter_weights():
            with m.If(empty):
                enter_params()
            with m.Else():
                enter(S.WEIGHTS, weight_units)

        finished, wrong_masks = Signal(), Signal()
        settled, drained = Signal(range(self.SETTLE_CYCLES + 1)), Signal()
        # A cycle late, which the CRC needs anyhow.
        m.d.sync += drained.eq(
            (weights.level == 0) & (params.level == 0) & (table.level == 0)
            & (table_due | expand.done | expand.starved) & (state == S.FINISH))
        pending = Signal()          # a mistake is on its way to the fault unit
        m.d.comb += wrong_masks.eq(expand.starved | surplus | ~k_left[-1]
                                   | (expand.blocks != header.blocks))
        with m.Switch(state):
            with m.Case(S.WAIT):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [k_count.eq(0), w_count.eq(0), param_count.eq(0), lut_count.eq(0),
                             units.eq(1), last_unit.eq(1), beat_in_unit.eq(0),
                             surplus.eq(0), bad_param.eq(0), bad_reserved.eq(0), settled.eq(0)]
                with m.If(self.stage.valid & fresh):
                    m.d.sync += [fresh.eq(0), outputs_left.eq(job.outputs), strip.eq(0),
                                 table_due.eq(job.lut)]
                with m.Elif(self.stage.valid):
                    with m.If(~pending & (table_due & self.lut_free
                                          | ~table_due & (loaded != STRIP_BANKS))):
                        m.d.sync += state.eq(S.HEADER)
            with m.Case(S.HEADER):
                with m.If(taken & section_end):
                    m.d.sync += state.eq(S.CHECK)
            with m.Case(S.CHECK):
                m.d.sync += [k_left.eq(columns - 1), w_left.eq(columns - 1)]
                with m.If(table_due):
                    enter(S.TABLE, spec.LUT_ENTRIES // spec.ALIGN_BYTES)
                with m.Else():
                    m.d.comb += expand.start.eq(1)
                    enter(S.BITMAP, bitmap_units)
                    with m.If(empty):
                        m.d.comb += [  # one column of weight zero stands for none
                            self.k_write.en.eq(1), self.k_write.data.eq(0),
                            self.w_write.en.eq(1), self.w_write.data.eq(0),
                        ]
            with m.Case(S.BITMAP):
                with m.If(taken & section_end):
                    with m.If(header.blocks == 0):
                        enter_weights()
                    with m.Else():
                        enter(S.MASKS, mask_units)
            with m.Case(S.MASKS):
                with m.If(taken & section_end):
                    enter_weights()
            with m.Case(S.WEIGHTS):
                with m.If(taken & section_end):
                    enter_params()
            with m.Case(S.PARAMS, S.TABLE):
                with m.If(taken & section_end):
                    enter(S.TRAILER, 1)
            with m.Case(S.TRAILER):
                reserved = Mux(unit_end, beat.data[:bits - CRC_BITS], beat.data)
                with m.If(taken & reserved.any()):
                    m.d.sync += bad_reserved.eq(1)
                with m.If(taken & section_end):
                    m.d.sync += state.eq(S.FINISH)
            with m.Case(S.FINISH):
                with m.If(settled != self.SETTLE_CYCLES - 1):
                    m.d.sync += settled.eq(settled + 1)
                with m.Else():
                    m.d.comb += finished.eq(drained)
                with m.If(finished):
                    m.d.sync += [state.eq(S.WAIT), table_due.eq(0)]
                    with m.If(~table_due):
                        m.d.sync += [
                            outputs_left.eq(outputs_left - self.cols),
                            strip.eq(strip + 1),
                            bank.eq(bank + 1), param_bank.eq(param_bank + 1),
                        ]
                        with m.If(last_strip):
                            m.d.comb += self.stage.next.eq(1)
                            m.d.sync += fresh.eq(1)

        lengths = Signal(data.ArrayLayout(self.length.shape(), STRIP_BANKS))
        oldest, waiting = Signal(range(STRIP_BANKS)), Signal(range(STRIP_BANKS + 1))
        strip_done, strip_done_q, announced = Signal(), Signal(), Signal()
        made = Signal(MISTAKES)     # what was wrong in the cycle before
        m.d.comb += [
            strip_done.eq(finished & ~table_due),
            announced.eq(strip_done_q & ~made.any()),
            self.ready.eq(waiting != 0), self.length.eq(lengths[oldest]),
        ]
        m.d.sync += [
            loaded.eq(loaded + strip_done - self.release),
            waiting.eq(waiting + announced - self.take),
            strip_done_q.eq(strip_done),
        ]
        with m.If(strip_done):
            m.d.sync += lengths[bank].eq(columns | empty)
        with m.If(self.take):
            m.d.sync += oldest.eq(oldest + 1)

        # What is wrong in a cycle, then the first cause of it; the fault unit stops everything from
        # the next cycle on. Results of what came in meanwhile are cycles away from the outside.
        trailer_end = taken & (state == S.TRAILER) & section_end & final
        mistakes = [
            ("weights_keep", taken & ~beat.keep.all()),
            ("weights_early_last", taken & beat.last & ~trailer_end),
            *((cause, (state == S.CHECK) & wrong) for cause, wrong in header_checks),
            ("weights_late_last", trailer_end & ~beat.last),
            ("crc", finished & ~crc.residue_ok),
            ("reserved", finished & bad_reserved),
            ("range", strip_done & expand.out_of_range),
            ("popcount", strip_done & wrong_masks),
            ("params", strip_done & bad_param),
        ]
        m.d.sync += made.eq(Cat(wrong for _, wrong in mistakes))
        cause = Signal(8)
        for (name, _), wrong in reversed(list(zip(mistakes, made, strict=True))):
            with m.If(wrong):
                m.d.comb += cause.eq(CAUSES[name])
        strip_q = Signal.like(strip)
        m.d.sync += [self.error.eq(cause), strip_q.eq(strip), self.strip.eq(strip_q)]
        told = Signal()
        m.d.sync += told.eq(made.any())
        m.d.comb += pending.eq(made.any() | told)
        return m
