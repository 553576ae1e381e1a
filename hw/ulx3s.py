"""The ULX3S: its oscillator, serial line, buttons and lights around the board's design.

Pins come from ``amaranth-boards``, which has them from the board's own constraints
(``ulx3s_v20.lpf`` of the ULX3S project, good for board versions 2.0 to 3.1). The serial line goes
to an FT231X: 3 Mbaud at most (FTDI DS_FT231X, section 1.3).
"""
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io
from amaranth_boards import ulx3s

from sparseloom.hw.board import Board

OSCILLATOR_MHZ = 25.0
MOST_BAUD = 3_000_000

PLATFORMS = {"25k": ulx3s.ULX3S_25F_Platform, "45k": ulx3s.ULX3S_45F_Platform,
             "85k": ulx3s.ULX3S_85F_Platform}
"""By the size of its FPGA."""


class Ulx3s(Elaboratable):
    """A :class:`~.board.Board` on the ULX3S's pins; button F1 resets.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, board: Board):
        self.board = board

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = self.board
        def pin(name: str, direction: io.Direction, port) -> io.Buffer:
            m.submodules[name] = buffer = io.Buffer(direction, port)
            return buffer

        def requested(name: str, place: int = 0):
            return platform.request(name, place, dir="-")

        uart = requested("uart")
        into, out_of = io.Direction.Input, io.Direction.Output
        m.d.comb += [
            board.clk.eq(pin("clk", into, requested("clk25")).i),
            board.button.eq(pin("button", into, requested("button_fire")).i),
            board.rx.eq(pin("rx", into, uart.rx).i),
            pin("tx", out_of, uart.tx).o.eq(board.tx),
            *(pin(f"light_{place}", out_of, requested("led", place)).o.eq(light)
              for place, light in enumerate(board.lights)),
        ]
        return m
