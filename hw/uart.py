"""Bytes on a serial line: a start bit, eight data bits, lowest first, a stop bit."""
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

MIN_DIVISOR = 8
"""Fewest cycles of a bit: room for three samples around its middle and the edge's uncertainty."""


def _check(divisor: int) -> None:
    if divisor < MIN_DIVISOR:
        raise ValueError(f"divisor must be at least {MIN_DIVISOR}, not {divisor!r}")


def line(flow):
    """Member of a signature for a serial line: high unless driven, and in reset."""
    return flow(1, init=1)


class UartReceiver(wiring.Component):
    """Receives bytes from a line of another clock.

    The line passes a synchroniser of two flip-flops, the only crossing. A bit is the majority of
    three samples around its middle, an eighth of a bit apart; a start bit that is none by then was
    a glitch. The next start bit is looked for from the middle of the stop bit on, so the sender's
    clock may be off by 3 %. A byte without its stop bit is not given out, and then the
    line must be high once before the next start. No back-pressure: a byte is valid for one cycle.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, at least ``MIN_DIVISOR``.

    Members
    -------
    rx : In(1)
        The line, high when idle.
    o : Out(stream of 8 bits, always_ready)
    broken : Out(1)
        For one cycle: a byte had no stop bit.

    Raises
    ------
    ValueError
        If ``divisor`` is too small.
    """

    def __init__(self, *, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__({
            "rx": line(In),
            "o": Out(stream.Signature(8, always_ready=True)),
            "broken": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        level = Signal(init=1)
        m.submodules.crossing = FFSynchronizer(self.rx, level, init=1)
        middle, apart = self.divisor // 2, max(1, self.divisor // 8)
        count = Signal(range(self.divisor))     # cycles of this bit
        samples = Signal(2)                     # the earlier two
        bits = Signal(8)
        at = Signal(range(10))                  # 0: start, 1 to 8: data, 9: stop
        voted, decide = Signal(), Signal()
        m.d.comb += [
            voted.eq((samples[0] & samples[1]) | (level & (samples[0] | samples[1]))),
            decide.eq(count == middle + apart),
            self.o.payload.eq(bits),
        ]
        m.d.sync += [self.o.valid.eq(0), self.broken.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [count.eq(1), at.eq(0)]     # this cycle is the start bit's first
                with m.If(~level):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += count.eq(count + 1)
                with m.If(count == self.divisor - 1):
                    m.d.sync += [count.eq(0), at.eq(at + 1)]
                with m.If((count == middle - apart) | (count == middle)):
                    m.d.sync += samples.eq(Cat(level, samples))
                with m.If(decide):
                    with m.If((at == 0) & voted):
                        m.next = "IDLE"
                    with m.Elif(at == 9):
                        m.d.sync += [self.o.valid.eq(voted), self.broken.eq(~voted)]
                        m.next = "IDLE"
                        with m.If(~voted):
                            m.next = "HIGH"
                    with m.Elif(at != 0):
                        m.d.sync += bits.eq(Cat(bits[1:], voted))
            with m.State("HIGH"):
                with m.If(level):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes.

    A byte is taken when the one before has left: ``10 * divisor`` cycles a byte, without pause if
    the next one is there.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, at least ``MIN_DIVISOR``.

    Members
    -------
    i : In(stream of 8 bits)
    tx : Out(1)
        The line, from a flip-flop; high when idle and in reset.

    Raises
    ------
    ValueError
        If ``divisor`` is too small.
    """

    def __init__(self, *, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": line(Out)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(range(self.divisor))
        bits = Signal(9)                        # what follows, the stop bit at the top
        left = Signal(range(11))                # bits that have not ended
        ending = Signal()
        m.d.comb += [
            ending.eq(count == self.divisor - 1),
            self.i.ready.eq((left == 0) | ((left == 1) & ending)),
        ]
        m.d.sync += count.eq(count + 1)
        with m.If(ending & (left != 0)):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1)), left.eq(left - 1),
                         count.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.i.payload, 1)), left.eq(10), count.eq(0)]
        return m
