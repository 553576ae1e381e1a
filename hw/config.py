"""What a user may choose about a build of the matrix unit, and what follows from it."""
from dataclasses import asdict, dataclass

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec

BUS_BITS = (32, 64, 128)
BLOCK_INPUTS = (8, 16, 32)
WEIGHT_BITS = tuple(spec.WEIGHT_LIMIT)
TARGETS = ("generic", "ecp5")


def _between(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} must be an integer in {low}..{high}, not {value!r}")


def _one_of(name: str, value: object, allowed: tuple) -> None:
    if value not in allowed or isinstance(value, bool):
        raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """One build of the unit: frozen, checked once; derived numbers are properties.

    Parameters
    ----------
    rows, cols : int
        Cells of the array, 1 to 32 each: ``rows`` tokens by ``cols`` outputs at a time.
    max_k : int
        Longest dot product, in inputs, 1 to 32768.
    act_words : int
        Words of ``rows`` bytes in each half of the activation buffer; at least ``max_k``, so
        that every permitted K fits with one token group, and at most 2**20.
    bus_bits : int
        Data width of the three AXI4-Streams, in bits: 32, 64 or 128.
    lanes : int, optional
        Results post-processed in a cycle; must divide ``rows``. By default the largest divisor
        of ``rows`` up to 4.
    queue_depth : int
        Jobs that may be outstanding, 1 to 16.
    block_inputs : int
        Inputs per bit of a strip's block bitmap: 8, 16 or 32. Independent of the q used in
        pruning, since the stream encoder cuts the masks anew.
    weight_bits : int
        8, or 4: then two columns share a multiplier, and layers of 8-bit weights are refused.
    target : str
        Technology body of multipliers, adders and memories: ``generic`` or ``ecp5``. Cycles do
        not depend on it.

    Raises
    ------
    InputError
        For any value outside these limits.
    """

    rows: int = 12
    cols: int = 12
    max_k: int = 1536
    act_words: int = 8192
    bus_bits: int = 64
    lanes: int | None = None
    queue_depth: int = 4
    block_inputs: int = 16
    weight_bits: int = 8
    target: str = "generic"

    def __post_init__(self):
        _between("rows", self.rows, 1, 32)
        _between("cols", self.cols, 1, 32)
        _between("max_k", self.max_k, 1, 32768)
        _between("act_words", self.act_words, 1, 1 << 20)
        _between("queue_depth", self.queue_depth, 1, 16)
        _one_of("bus_bits", self.bus_bits, BUS_BITS)
        _one_of("block_inputs", self.block_inputs, BLOCK_INPUTS)
        _one_of("weight_bits", self.weight_bits, WEIGHT_BITS)
        _one_of("target", self.target, TARGETS)
        if self.act_words < self.max_k:
            raise InputError(f"act_words must be at least max_k = {self.max_k} (one token group "
                             f"of the longest input), not {self.act_words}")
        if self.lanes is None:
            lanes = max(n for n in range(1, 5) if self.rows % n == 0)
            object.__setattr__(self, "lanes", lanes)
        _between("lanes", self.lanes, 1, self.rows)
        if self.rows % self.post_lanes:
            raise InputError(f"lanes must divide rows = {self.rows}, not {self.lanes}")

    @property
    def post_lanes(self) -> int:
        """Results post-processed in a cycle."""
        assert self.lanes is not None
        return self.lanes

    @property
    def bus_bytes(self) -> int:
        """Bytes in a beat of any of the three streams."""
        return self.bus_bits // 8

    @property
    def sum_bits(self) -> int:
        """Width of a cell's accumulator, signed.

        ``max_k`` products of magnitude up to 2**14, or 2**10 with weights of 4 bits.
        """
        return (self.max_k << self.weight_bits + 6).bit_length() + 1

    @property
    def max_blocks(self) -> int:
        """Bits of the longest block bitmap."""
        return -(-self.max_k // self.block_inputs)

    @property
    def result_words(self) -> int:
        """Words of ``lanes`` results held between post-processing and the result stream.

        Four tiles. Room is reserved when a tile begins, and free when its results have left: after
        its columns, the array's depth, the drain and its beats. With two, raw results of strips
        hardly longer than their beats held the array up.
        """
        return 4 * self.cols * (self.rows // self.post_lanes)

    def to_dict(self) -> dict[str, int | str]:
        """Settings as plain data, for the manifest."""
        return asdict(self)
