# amaranth: UnusedElaboratable=no
import pytest

from sparseloom.hw.drain_link import Take
from sparseloom.hw.shift_order import ShiftOrder
from tests.hw.bench import run

OWN = (Take.FIRST, Take.SECOND, Take.THIRD)


def chains(links, shifts, behind=None):
    """Columns that the first link shows, before and behind each of so many shifts.

    Links as the array has them: each takes what it is told; all behind one another but for
    ``behind``.
    """
    dut, edge = ShiftOrder(links, behind or [number > 0 for number in range(len(links))]), []
    firsts = [sum(links[:number]) for number in range(len(links))]
    shown = list(firsts)

    async def drive(ctx):
        for _ in range(2):                      # the second tile as the first one
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            shown[:] = firsts
            edge.append([])
            for at in range(2 * shifts + len(links) + 2):
                shift = at % 2 == 0 and at // 2 < shifts
                if at % 2 == 0 and at // 2 <= shifts:
                    edge[-1].append(shown[0])
                ctx.set(dut.shift, shift)
                await ctx.delay(1e-9)
                before = list(shown)
                for number, first in enumerate(firsts):
                    take = ctx.get(dut.take[number])
                    if not ctx.get(dut.move) >> number & 1:
                        assert take == Take.FIRST
                    elif take == Take.RIGHT:
                        shown[number] = before[number + 1]
                    else:
                        shown[number] = first + OWN.index(take)
                        assert shown[number] < first + links[number]
                await ctx.tick()

    run(dut, drive, max_cycles=4 * shifts + 100)
    return edge


@pytest.mark.parametrize("links", [(2,), (3,), (3, 1), (3, 2), (3, 3), (3, 3, 3, 3),
                                   (1, 1, 1), (2, 3, 1)])
def test_columns_come_in_their_order(links):
    cols = sum(links)
    assert chains(links, cols - 1) == [list(range(cols))] * 2


def test_links_may_move_at_once():
    assert chains((3, 3, 3, 2), 10, behind=(0, 0, 1, 0)) == [list(range(11))] * 2


def test_a_tile_of_fewer_channels_is_forgotten_by_the_next():
    assert chains((3, 3, 3), 4) == [[0, 1, 2, 3, 4]] * 2


def test_the_end_moves_no_further():
    assert chains((2,), 3) == [[0, 1, 1, 1]] * 2
