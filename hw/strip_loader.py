"""Loads the weight stream: checks each packet, expands its masks, fills the strip buffer."""
from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value, ValueLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.block_fifo import BlockFifo
from sparseloom.hw.crc import Crc32
from sparseloom.hw.drain import PARAM_BANKS, param_stride
from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.job_queue import CAUSES, job_layout, stage_signature
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import Header, OutputParams, ScaleParams, beat_layout, write_signature
from sparseloom.hw.level import counted
from sparseloom.hw.mask_expand import MaskExpand
from sparseloom.hw.memory import inferred_memory
from sparseloom.hw.postprocess import LutWrite
from sparseloom.hw.weight_word import from_stream, word_layout
from sparseloom.model.packed import spec

UNIT_BITS = 8 * spec.ALIGN_BYTES
CRC_BITS = dict(spec.TRAILER)["crc"]
PARAM_BYTES = sum(bits for _, bits in spec.OUTPUT_PARAMS) // 8
STRIP_BANKS = 2
LUT_INPUTS = 4


class StripLoader(wiring.Component):
    """From the weight stream's packets to loaded strips, one bank after the other.

    A packet is header, sections and trailer (``docs/format.md``); every field is checked, and a
    strip is announced only when its CRC held. Indices are written while the weights still
    arrive; neither waits for the other.

    Parameters
    ----------
    rows, cols, max_k, act_words, bus_bits, block_inputs, weight_bits : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.
    target : str
        Technology body of the masks' queue.

    Members
    -------
    i : In(stream of beat_layout(bus_bits))
        Not ready until a job waits and a bank is free. Then one beat a cycle, or less where words
        are narrower than beats: a column's weights, 8 bytes of parameters, a byte of a table a
        cycle. A few cycles pass behind a header and between packets, and a strip is complete when
        each of its indices had its cycle. ``ready`` comes from registers.
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
        Cause code for one cycle, else 0; at most ``ERROR_LATENCY`` cycles after the beat that it
        tells of, or a packet's last check. Then no packet is begun until reset.
    strip : Out(16)
        Index of the strip that is or was being loaded, when ``error`` tells of it.
    """

    ERROR_LATENCY = 6
    """Cycles from a header's last beat to ``error``: door, fields, counts, causes, first, told."""

    SETTLE_CYCLES = 2 + Crc32.VERDICT_LATENCY
    """Cycles behind a packet's last beat until its CRC is known; a strip is ready in the next."""

    def __init__(self, *, rows: int, cols: int, max_k: int, act_words: int, bus_bits: int,
                 block_inputs: int, weight_bits: int = 8, target: str = "generic"):
        self.target = target
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
        unit_beats = UNIT_BITS // bits
        job = self.stage.job

        # Where the door stands, one hot: between packets, in a section, in a gap.
        wait = Signal(init=1)       # for a job, a free bank, a free table
        at_header = Signal(unit_beats)
        at_check = Signal(2)        # lengths are found out of the header
        at_bitmap, at_masks, at_weights, at_params, at_table = (
            Signal(name=f"at_{name}") for name in ("bitmap", "masks", "weights", "params", "table"))
        at_trailer = Signal(unit_beats)
        finish = Signal()           # the last words settle, the masks are expanded
        # The CRC of all beats is known, words and masks are through. (What ``wait`` sets back a
        # reset does, too, by that.)
        closed = Signal(self.SETTLE_CYCLES - 2, reset_less=True)
        through = Signal()
        done = Signal()             # one cycle: the packet is judged
        begin = Signal()
        # ... and steers more than one register can: what it sets back hangs on a copy of it, which
        # a reset need not reach, since it follows a cycle later and no packet begins before.
        wait_next = Signal()
        m.submodules.anew = copy = KeptRegister(1, init=1, target=self.target)
        m.d.comb += copy.i.eq(wait_next)
        anew = copy.o

        # The door. What is taken lands in a register with its place in the packet; nothing behind
        # it hears of a beat sooner, but the CRC, which has another one, where no beat ever waits.
        beat = data.StructLayout({"data": bits, "keep": bus_bytes, "last": 1, "end": 1})
        place = data.StructLayout({
            "header": unit_beats, "bitmap": 1, "masks": 1, "weights": 1, "params": 1, "table": 1,
            "trailer": unit_beats})
        arrived, arrived_at = Signal(beat), Signal(place)
        word, word_at = Signal(beat, reset_less=True), Signal(place)
        seen = Signal(bits, reset_less=True)
        ready, taken, hold, ended = Signal(), Signal(), Signal(), Signal()
        last_bitmap, last_masks, last_weights, last_fixed = (
            Signal(name=f"last_{name}") for name in ("bitmap", "masks", "weights", "fixed"))
        sections = Cat(at_header, at_bitmap, at_masks, at_weights, at_params, at_table, at_trailer)
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            arrived.data.eq(self.i.p.data), arrived.keep.eq(self.i.p.keep),
            arrived.last.eq(self.i.p.last),
            arrived.end.eq((at_weights & last_weights) | (at_params & last_fixed)),
            arrived_at.eq(sections & taken.replicate(len(sections))),
            self.i.ready.eq(ready),
        ]
        m.d.sync += seen.eq(self.i.p.data)
        with m.If(~hold):
            m.d.sync += [word.eq(arrived), word_at.eq(arrived_at)]
        full = None
        if bus_bytes > min(self.column_bytes, PARAM_BYTES):     # else only a table's beats wait
            full, spare, spare_at = Signal(), Signal(beat, reset_less=True), Signal(place)
            m.d.comb += self.i.ready.eq(ready & ~full)
            m.d.sync += full.eq(hold & (full | taken))
            with m.If(~full):
                m.d.sync += [spare.eq(arrived), spare_at.eq(arrived_at)]
            with m.Elif(~hold):
                m.d.sync += [word.eq(spare), word_at.eq(spare_at)]
        with m.If(at_check[1]):     # no beat comes now: zeros for an empty strip's column
            m.d.sync += word.data.eq(0)

        with m.If(wait):
            m.d.sync += ended.eq(0)
        with m.Elif(taken & self.i.p.last):     # what follows is another job's
            m.d.sync += ended.eq(1)
        # Gates in front of each of these flags, no enable that waits for the beat and for a gate.
        closes, table_moves, reopens = Signal(), Signal(), Signal()
        table_nearly = Signal()     # two cycles before a table's beat has left
        m.d.comb += closes.eq(self.i.p.last | at_header[-1] | at_trailer[-1] | at_table)
        coming = self.i.valid if full is None else self.i.valid & ~full     # and ready: taken
        m.d.sync += [
            reopens.eq((at_check[0] | table_nearly) & ~ended),
            ready.eq((ready & ~(coming & closes)) | begin | reopens),
        ]

        # The packet that is due.
        fresh = Signal(init=1)      # no packet of this job was begun
        table_due, final = Signal(), Signal()
        strip, on = Signal(16), Signal()            # and the next one is another strip
        beyond = Signal(signed(17), reset_less=True)    # outputs behind this strip, less one
        first = Signal()                            # ... is still all outputs
        inputs, tag = (Signal.like(job[name], name=f"job_{name}", reset_less=True)
                       for name in ("inputs", "tag"))
        bank = Signal(range(STRIP_BANKS))
        loaded, loaded_next = Signal(STRIP_BANKS), Signal(STRIP_BANKS)  # at least 1, 2
        param_bank = Signal(range(PARAM_BANKS))
        hit, told = Signal(3), Signal()             # a mistake is on its way, or was told
        right = Signal()            # no mistake up to a packet's end: another one may come
        job_there, fits, begun = Signal(), Signal(), Signal()
        strip_done, table_done, strip_done_q = Signal(), Signal(), Signal()     # ... of its kind
        starts = Signal()           # a job
        m.d.comb += [
            loaded_next.eq(counted(loaded, strip_done, self.release)),
            begin.eq(wait & job_there & fits), starts.eq(wait & self.stage.valid & fresh),
            self.stage.next.eq(done & final),
        ]
        m.d.sync += [
            first.eq(fresh), inputs.eq(job.inputs), tag.eq(job.tag),
            job_there.eq(self.stage.valid & ~fresh & ~self.stage.next),
            fits.eq(Mux(table_due & ~table_done, self.lut_free, ~loaded_next[-1])),
            loaded.eq(loaded_next), begun.eq(begin),
            final.eq(~table_due & beyond[-1]), strip_done_q.eq(strip_done),
            on.eq((on & ~begun & ~starts) | strip_done),
            fresh.eq((fresh & ~starts) | (done & final)),
        ]
        with m.If(begun):
            m.d.sync += strip.eq(strip + on)
        with m.If(starts):
            m.d.sync += [table_due.eq(job.lut), strip.eq(0)]
        with m.If(fresh):
            m.d.sync += beyond.eq(job.outputs)
        with m.Elif(first | strip_done_q):
            m.d.sync += beyond.eq(beyond - (self.cols + first))
        with m.If(done):
            m.d.sync += table_due.eq(0)
        with m.If(strip_done):
            m.d.sync += [bank.eq(bank + 1), param_bank.eq(param_bank + 1)]

        # The header is held against what is due field by field, as it comes.
        job_blocks = Signal(range(-(-self.max_k // q) + 1), reset_less=True)
        m.d.sync += job_blocks.eq((inputs + (q - 1)) >> (q.bit_length() - 1))
        due = {"version": spec.STREAM_VERSION,
               "kind": Mux(table_due, spec.KIND_LUT, spec.KIND_STRIP), "tag": tag,
               "weight_bits": self.weight_bits, "cols": self.cols, "block_inputs": q,
               "inputs": inputs, "strip": strip, "reserved": 0}
        kept = {name: Signal(Header[name].width, name=name, reset_less=True)
                for name in ("columns", "blocks")}
        columns, blocks = kept["columns"], kept["blocks"]
        # A look-up table for each few bits, then one for those of a field.
        differs, header_at = {}, Signal(unit_beats)
        m.d.sync += header_at.eq(word_at.header)
        for name in (*due, *kept):
            number, start = divmod(Header[name].offset, bits)
            value = word.data[start:start + Header[name].width]
            if name in kept:
                with m.If(word_at.header[number]):
                    m.d.sync += kept[name].eq(value)
                continue
            few = LUT_INPUTS if isinstance(due[name], int) else LUT_INPUTS // 2
            unlike = Signal(len(value) // few, name=f"{name}_unlike", reset_less=True)
            differs[name] = Signal(-(-len(unlike) // LUT_INPUTS), name=f"{name}_differs",
                                   reset_less=True)
            other = Signal.like(value, name=f"{name}_due")
            m.d.comb += other.eq(due[name])
            m.d.sync += unlike.eq(_any_of(value ^ other, few))
            with m.If(header_at[number]):
                m.d.sync += differs[name].eq(_any_of(unlike, LUT_INPUTS))
        empty, no_masks, judge = Signal(reset_less=True), Signal(reset_less=True), Signal()
        too_many = Signal(5, reset_less=True)
        size_bits, count_bits = len(inputs), len(job_blocks)
        m.d.sync += [
            empty.eq(columns == 0), no_masks.eq(blocks == 0), judge.eq(at_check[1]),
            too_many.eq(Cat(
                columns[size_bits:].any(), (inputs - columns[:size_bits])[-1],
                blocks[count_bits:].any(), (job_blocks - blocks[:count_bits])[-1],
                (columns[:size_bits] - blocks[:count_bits])[-1])),
        ]

        # Beats of each section, still to come; loaded outside of it.
        def as_beats(name, bit_count):
            units = ((bit_count + (UNIT_BITS - 1)) >> (UNIT_BITS.bit_length() - 1))
            units_q = Signal(len(units), name=f"{name}_units", reset_less=True)
            m.d.sync += units_q.eq(units)
            return units_q * unit_beats

        def section(name, at, last, count, limit):
            left = Signal(range(limit * unit_beats + 1), name=f"{name}_left", reset_less=True)
            with m.If(~at):
                m.d.sync += [left.eq(count), last.eq(count == 1)]
            with m.Elif(taken):
                m.d.sync += [left.eq(left - 1), last.eq(left == 2)]

        size = self.column_bytes
        weight_bytes = Signal(range(self.max_k * size + 1), reset_less=True)
        m.d.sync += weight_bytes.eq(sum(     # shifts and adds: no multiplier
            columns[:size_bits] << bit for bit in range(size.bit_length()) if size >> bit & 1))
        mask_units = -(-self.max_k // UNIT_BITS) + 1    # blocks of q inputs, the last may reach out
        param_units = -(-self.cols * PARAM_BYTES // spec.ALIGN_BYTES)
        table_units = spec.LUT_ENTRIES // spec.ALIGN_BYTES
        section("bitmap", at_bitmap, last_bitmap, as_beats("bitmap", job_blocks),
                -(-self.max_k // (q * UNIT_BITS)))
        section("masks", at_masks, last_masks,
                as_beats("mask", blocks[:count_bits] << (q.bit_length() - 1)), mask_units)
        section("weights", at_weights, last_weights, as_beats("weight", weight_bytes << 3),
                -(-self.max_k * size // spec.ALIGN_BYTES))
        section("fixed", at_params | at_table, last_fixed,
                Mux(table_due, table_units * unit_beats, param_units * unit_beats),
                max(param_units, table_units))

        # From section to section: where a beat taken now leads is known before one is there.
        # (A header with masks and no columns is a mistake: where that packet goes tells nobody.)
        leaves_masks, leaves_bitmap = at_masks & last_masks, at_bitmap & last_bitmap
        leaves_fixed = (at_params | at_table) & last_fixed

        def follow(at, leaves: ValueLike, comes: ValueLike):
            """Left with the beat that "leaves", come to with one that "comes"."""
            with m.If(taken):
                m.d.sync += at.eq((at & ~Value.cast(leaves)) | comes)

        for at, leaves, comes in ((at_header[0], 1, begin),     # ... or without any
                                  (at_bitmap, last_bitmap, at_check[1] & ~table_due),
                                  (at_table, last_fixed, at_check[1] & table_due)):
            m.d.sync += at.eq((at & ~(taken & leaves)) | comes)
        for at, comes in zip(at_header[1:], at_header, strict=False):
            follow(at, 1, comes)
        follow(at_masks, last_masks, leaves_bitmap & ~no_masks)
        follow(at_weights, last_weights, leaves_masks | (leaves_bitmap & no_masks & ~empty))
        follow(at_params, last_fixed, (at_weights & last_weights)
               | (leaves_bitmap & no_masks & empty))
        for at, comes in zip(at_trailer, Cat(leaves_fixed, at_trailer[:-1]), strict=True):
            follow(at, 1, comes)
        m.d.sync += [
            at_check.eq(Cat(taken & at_header[-1], at_check[0])),
            finish.eq((finish & ~(closed[-1] & through)) | (taken & at_trailer[-1])),
            wait.eq(wait_next),
        ]
        m.d.comb += wait_next.eq((wait & ~begin) | (done & right))

        # CRC over the whole packet, its own field included.
        m.submodules.crc = crc = Crc32(bus_bytes)
        # It sees a beat by a register that nothing else hangs on.
        crc_valid, crc_data = Signal(2), Signal.like(seen, reset_less=True)
        m.d.sync += [crc_valid.eq(Cat(taken, crc_valid)), crc_data.eq(seen)]
        m.d.comb += [crc.start.eq(anew), crc.valid.eq(crc_valid[-1]), crc.data.eq(crc_data)]

        # Masks to indices. What was left of the packet before is thrown away.
        m.submodules.expand = expand = MaskExpand(beat_bits=bits, block_inputs=q, max_k=self.max_k)
        mask_fifo = BlockFifo(
            shape=bits, depth=-(-self.max_k // UNIT_BITS) * unit_beats, target=self.target,
            ahead=True)
        m.submodules.mask_fifo = ResetInserter(anew)(mask_fifo)
        bitmap_depth = max(2, -(-self.max_k // (q * UNIT_BITS)) * unit_beats)
        m.submodules.bitmap_words = bitmap_words = inferred_memory(
            shape=bits, depth=bitmap_depth, distributed=self.target == "ecp5")
        write, read = bitmap_words.write_port(), bitmap_words.read_port(domain="comb")
        unread = Signal(range(bitmap_depth + 1), reset_less=True)
        has_unread, pop = Signal(reset_less=True), Signal()
        m.d.comb += [
            expand.inputs.eq(inputs), expand.start.eq(at_check[0] & ~table_due),
            mask_fifo.i.valid.eq(word_at.masks), mask_fifo.i.payload.eq(word.data),
            expand.masks.valid.eq(mask_fifo.o.valid), expand.masks.payload.eq(mask_fifo.o.payload),
            mask_fifo.o.ready.eq(expand.masks_next),
            write.en.eq(word_at.bitmap), write.data.eq(word.data),
            expand.bitmap.valid.eq(has_unread), expand.bitmap.payload.eq(read.data),
            pop.eq(has_unread & expand.bitmap.ready),
        ]
        with m.If(word_at.bitmap & ~pop):
            m.d.sync += [unread.eq(unread + 1), has_unread.eq(1)]
        with m.Elif(pop & ~word_at.bitmap):
            m.d.sync += [unread.eq(unread - 1), has_unread.eq(unread != 1)]
        for moves, port in ((word_at.bitmap, write), (pop, read)):
            at = Signal.like(port.addr, reset_less=True)
            m.d.comb += port.addr.eq(at)
            with m.If(moves):
                m.d.sync += at.eq(at + 1)
            with m.If(anew):
                m.d.sync += at.eq(0)
        with m.If(anew):
            m.d.sync += [unread.eq(0), has_unread.eq(0)]

        k_valid, k = Signal(), Signal(range(self.max_k), reset_less=True)
        k_count, w_count = (Signal(range(self.max_k), name=name, reset_less=True)
                            for name in ("k_count", "w_count"))
        last_column = Signal(range(self.max_k), reset_less=True)
        # Columns to come, less one, of indices and of weights: below zero there are no more.
        k_left, w_left = (Signal(signed(len(last_column) + 1), name=name, reset_less=True)
                          for name in ("k_left", "w_left"))
        k_full, w_full = k_left[-1], w_left[-1]
        zero_column = Signal()          # one column of weight zero stands for none; with ``judge``
        surplus = Signal(reset_less=True)       # more indices than the header announced
        m.d.comb += [
            self.k_write.addr.eq(Cat(bank, k_count)), self.k_write.data.eq(k),
            self.k_write.en.eq(k_valid & ~k_full),
        ]
        m.d.sync += [zero_column.eq(at_check[1] & (columns == 0) & ~table_due),
                     last_column.eq(columns - 1), k_valid.eq(expand.valid | zero_column),
                     k.eq(expand.k)]
        with m.If(judge):
            m.d.sync += k.eq(0)
        with m.If(k_valid):
            m.d.sync += [k_count.eq(k_count + 1), surplus.eq(surplus | k_full)]
        for left, moves in ((k_left, k_valid), (w_left, self.w_write.en)):
            with m.If(judge):
                m.d.sync += left.eq(Mux(table_due, -1, Mux(empty, 0, last_column)))
            with m.Elif(moves):
                m.d.sync += left.eq(left - 1)

        # Bytes to words.
        m.submodules.weight_gearbox = weights = Gearbox(bus_bytes, self.column_bytes)
        m.d.comb += [
            weights.i.valid.eq(word_at.weights | zero_column),
            weights.i.p.data.eq(word.data), weights.i.p.last.eq(word.end | judge),
            weights.o.ready.eq(1),
            self.w_write.addr.eq(Cat(bank, w_count)),
            self.w_write.data.eq(from_stream(weights.o.p.data, self.cols, self.weight_bits)),
            self.w_write.en.eq(weights.o.valid & ~w_full),
        ]
        with m.If(self.w_write.en):
            m.d.sync += w_count.eq(w_count + 1)

        # Output parameters: a beat of 8 bytes is one output's.
        scale, param_valid, params_through = Signal(OutputParams), Signal(), Signal(init=1)
        stays = Signal()            # in front of a gearbox that does not take it
        if bus_bytes == PARAM_BYTES:
            m.d.comb += [scale.eq(word.data), param_valid.eq(word_at.params),
                         stays.eq(word_at.weights & ~weights.i.ready)]
        else:
            m.submodules.param_gearbox = params = Gearbox(bus_bytes, PARAM_BYTES)
            m.d.comb += [
                params.i.valid.eq(word_at.params), params.i.p.data.eq(word.data),
                params.i.p.last.eq(word.end), params.o.ready.eq(1),
                scale.eq(params.o.p.data), param_valid.eq(params.o.valid),
                params_through.eq(params.empty),
                stays.eq((word_at.weights & ~weights.i.ready)
                         | (word_at.params & ~params.i.ready)),
            ]
        param_count = Signal(range(self.cols), reset_less=True)
        params_full = Signal(reset_less=True)
        param_taken, param_taken_q = Signal(), Signal()
        param_at, param_q = Signal.like(self.param_write.addr), Signal(ScaleParams, reset_less=True)
        bad_param, bad_scale = Signal(reset_less=True), Signal(4, reset_less=True)
        bad_byte = Signal(-(-len(scale.reserved) // LUT_INPUTS), reset_less=True)
        m.d.comb += [
            param_taken.eq(param_valid & ~params_full),
            self.param_write.en.eq(param_taken_q), self.param_write.addr.eq(param_at),
            self.param_write.data.eq(param_q),
        ]
        over = spec.SHIFT_MAX + 1
        assert spec.MULT_MIN.bit_count() == spec.SHIFT_MIN == 1
        assert not over % 16
        m.d.sync += [
            param_taken_q.eq(param_taken),
            param_at.eq(Cat(param_count[:(self.cols - 1).bit_length()], param_bank)),
            param_q.bias.eq(scale.bias), param_q.mult.eq(scale.mult), param_q.shift.eq(scale.shift),
            bad_scale.eq(Cat(
                ~scale.mult[spec.MULT_MIN.bit_length() - 1:].any(),
                ~Cat(scale.shift[4:] == high for high in range(over // 16)).any(),
                scale.shift[:4].any(), scale.shift[4:].any())),
        ]
        with m.If(param_taken):
            m.d.sync += [param_count.eq(param_count + 1),
                         params_full.eq(param_count == self.cols - 1)]
        with m.If(param_taken_q):
            m.d.sync += bad_param.eq(bad_param | bad_scale[:2].any() | ~bad_scale[2:].any())

        # A table's beat stays while its bytes leave: of each two the one, then one of these.
        entry, table_stays = Signal(range(spec.LUT_ENTRIES), reset_less=True), Signal()
        byte = entry[:(bus_bytes - 1).bit_length()]
        table_taken, table_writes = Signal(), Signal()
        entry_q, table_at = (Signal.like(entry, name=name, reset_less=True)
                             for name in ("entry_q", "table_at"))
        chosen, table_byte = Signal(bits // 2, reset_less=True), Signal(8, reset_less=True)
        m.d.comb += [
            hold.eq(table_stays | stays if bus_bytes > min(self.column_bytes, PARAM_BYTES)
                    else table_stays),
            self.lut_write.bank.eq(job.lut_bank), self.lut_write.addr.eq(table_at),
            self.lut_write.en.eq(table_writes), self.lut_write.data.eq(table_byte),
        ]
        m.d.sync += [
            table_nearly.eq(table_stays & (byte == bus_bytes - 4)), table_moves.eq(table_nearly),
            table_stays.eq((taken & at_table) | (table_stays & ~table_moves)),
            table_taken.eq(word_at.table), entry_q.eq(entry),
            table_writes.eq(table_taken), table_at.eq(entry_q),
            chosen.eq(Cat(word.data[at:at + 16].word_select(byte[0], 8)
                          for at in range(0, bits, 16))),
            table_byte.eq(chosen.word_select(entry_q[1:len(byte)], 8)),
        ]
        with m.If(word_at.table):
            m.d.sync += entry.eq(entry + 1)

        # Reserved bits are zero, and all of a trailer but the CRC: the bits, some of them, any.
        trailer_at, trailer_early = Signal(), Signal()      # and not with the CRC
        set_bits = Signal(bits // LUT_INPUTS, reset_less=True)
        bad_reserved = Signal(reset_less=True)
        at = len(set_bits) - CRC_BITS // LUT_INPUTS
        some_bits = Cat(
            *(bits & trailer_at for bits in _any_of(set_bits[:at], LUT_INPUTS - 1)),
            *(bits & trailer_early for bits in _any_of(set_bits[at:], LUT_INPUTS - 1)),
            bad_byte.any() & param_taken_q)
        bad_bits = Signal(len(some_bits), reset_less=True)
        m.d.sync += [
            trailer_early.eq(word_at.trailer[:-1].any()),
            set_bits.eq(_any_of(word.data, LUT_INPUTS)),
            bad_byte.eq(_any_of(scale.reserved, LUT_INPUTS)),
            bad_bits.eq(some_bits), bad_reserved.eq(bad_reserved | bad_bits.any()),
        ]
        if at:                      # a beat holds more than the CRC
            m.d.sync += trailer_at.eq(word_at.trailer.any())

        # The end: masks and words are through, and the CRC is known.
        blocks_differ, starved = Signal(reset_less=True), Signal(reset_less=True)
        blocks_unlike = _any_of(expand.blocks ^ blocks[:count_bits], LUT_INPUTS // 2)
        blocks_unlike_q = Signal(len(blocks_unlike), reset_less=True)
        m.d.sync += [
            blocks_unlike_q.eq(blocks_unlike),
            blocks_differ.eq(blocks_unlike_q.any() & ~table_due),
            starved.eq(expand.starved),
            closed.eq(Cat(word_at.trailer[-1] & ~hold | closed[0], closed)),
            through.eq(finish & weights.empty & params_through
                       & (table_due | expand.done | starved)),
            *(flag.eq(finish & closed[-1] & through & kind) for flag, kind in (
                (done, 1), (strip_done, ~table_due), (table_done, table_due))),
        ]

        with m.If(anew):
            m.d.sync += [k_count.eq(0), w_count.eq(0), param_count.eq(0), entry.eq(0),
                         params_full.eq(0), closed.eq(0), surplus.eq(0), bad_param.eq(0),
                         bad_reserved.eq(0)]

        lengths = Signal(data.ArrayLayout(self.length.shape(), STRIP_BANKS))
        oldest, waiting = Signal(range(STRIP_BANKS)), Signal(STRIP_BANKS)
        strip_waits = Signal()
        m.d.comb += [self.ready.eq(waiting[0]), self.length.eq(lengths[oldest])]
        m.d.sync += [
            waiting.eq(counted(waiting, strip_waits, self.take)),
            strip_waits.eq(strip_done & right),
        ]
        for number in range(STRIP_BANKS):   # of a bank that nobody looks at until it is loaded
            ends = Signal(name=f"ends_{number}")
            m.d.sync += ends.eq(finish & ~table_due & (bank == number))
            with m.If(ends):
                m.d.sync += lengths[number].eq(columns | empty)
        with m.If(self.take):
            m.d.sync += oldest.eq(oldest + 1)

        # What is wrong with a beat, with a header, with a packet: each the first of its causes.
        # They are apart in time, and the first of all is told.
        beat_at, bad_keep, trailer_end = Signal(), Signal(reset_less=True), Signal()
        early_last, late_last = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += trailer_end.eq(word_at.trailer[-1] & final)
        m.d.sync += [
            beat_at.eq(word_at.as_value().any()), bad_keep.eq(~word.keep.all()),
            early_last.eq(word.last & ~trailer_end), late_last.eq(trailer_end & ~word.last),
        ]
        # What of a header is wrong is found in one step, the first of it in the next.
        header_mistakes = {cause: Cat(differs[name] for name in names).any() for cause, *names in (
            ("version", "version"), ("kind", "kind"), ("reserved", "reserved"), ("tag", "tag"),
            ("geometry", "cols", "block_inputs", "inputs"), ("weight_bits", "weight_bits"),
            ("strip", "strip"))}
        header_mistakes["count"] = too_many.any() | (table_due & ~(empty & no_masks))
        in_header, judged = Signal(len(header_mistakes), reset_less=True), Signal()
        m.d.sync += [in_header.eq(Cat(*header_mistakes.values())), judged.eq(judge)]
        # Those of a packet but the CRC's are there a cycle before it is judged. Of a table there is
        # no index, and what is left of the strip before was right.
        packet_mistakes = {
            "reserved": bad_reserved,
            "range": expand.out_of_range,
            "popcount": starved | surplus | ~k_full | blocks_differ,
            "params": bad_param,
        }
        in_packet = Signal(len(packet_mistakes), reset_less=True)
        wrong_before = Signal(reset_less=True)
        m.d.sync += [in_packet.eq(Cat(*packet_mistakes.values())),
                     wrong_before.eq(Cat(*packet_mistakes.values()).any() | told)]
        m.d.comb += right.eq(crc.residue_ok & ~wrong_before)
        told_of = [
            (beat_at, [("weights_keep", bad_keep), ("weights_early_last", early_last),
                       ("weights_late_last", late_last)]),
            (judged, list(zip(header_mistakes, in_header, strict=True))),
            (done, [("crc", ~crc.residue_ok), *zip(packet_mistakes, in_packet, strict=True)]),
        ]
        codes = []
        for number, (when, mistakes) in enumerate(told_of):
            code, found = Signal(8, name=f"code_{number}"), Signal(8, name=f"found_{number}")
            for cause, wrong in reversed(mistakes):
                with m.If(wrong):
                    m.d.comb += found.eq(CAUSES[cause])
            m.d.sync += [code.eq(found),
                         hit[number].eq(when & Cat(wrong for _, wrong in mistakes).any())]
            codes.append(Mux(hit[number] & ~told, code, 0))
        m.d.sync += [told.eq(told | hit.any()), self.error.eq(codes[0] | codes[1] | codes[2])]
        m.d.comb += self.strip.eq(strip)
        return m


def _any_of(flags: Value, number: int) -> Cat:
    """For each so many bits, whether any is set."""
    return Cat(flags[at:at + number].any() for at in range(0, len(flags), number))
