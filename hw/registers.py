"""The register table: hardware, address map, C header and documentation all come from it."""
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed import spec

DATA_BITS = 32
ADDR_BITS = 8
"""Address bits of the register bus; offsets are in bytes."""

UNIT_ID = 0x53504C4D
"""What ID reads: "MLPS" in memory order, "SPLM" as a number."""

UNIT_VERSION = (0, 1, 0)
"""Version of the unit's registers and behaviour: major, minor, patch."""


class Access(enum.Enum):
    """What the bus may do to a register."""

    R = "R"
    """Read; the unit gives the value."""
    RW = "RW"
    """Read and write; the register keeps the value, 0 after reset."""
    W = "W"
    """Write; an event for the unit. Reading is refused."""
    RW1C = "RW1C"
    """Read; the unit sets a bit, writing 1 clears it."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """Some neighbouring bits of a register.

    Parameters
    ----------
    name : str
        Lower case, unique in its register.
    low, width : int
        Lowest bit and number of bits.
    doc : str
        What it means, in one line.
    signed : bool
        Two's complement.
    """

    name: str
    low: int
    width: int
    doc: str
    signed: bool = False

    @property
    def mask(self) -> int:
        """The field's bits in the register."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True, kw_only=True)
class Register:
    """One 32-bit register.

    Parameters
    ----------
    name : str
        Upper case, unique.
    offset : int
        Bytes, a multiple of 4.
    access : Access
    doc : str
        What it is for, in one line.
    fields : tuple of Field
        Bits of no field read 0 and ignore writes.
    refusable : bool
        The unit may refuse a write, which then answers SLVERR and changes nothing.
    bank : str
        Lower case: all R registers of that name are read through one port, one at a time. Empty:
        the register has its own.
    """

    name: str
    offset: int
    access: Access
    doc: str
    fields: tuple[Field, ...] = ()
    refusable: bool = False
    bank: str = ""

    def field(self, name: str) -> Field:
        """The field of that name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")


def check_registers(registers: Sequence[Register], *, addr_bits: int) -> None:
    """Refuse a table that cannot be built.

    Raises
    ------
    ValueError
        For a name or offset used twice, an offset that is unaligned or beyond ``addr_bits``,
        fields that overlap or leave the register, a field of RW1C wider than a bit, a refusable
        register that is not W, or a bank that is not of R registers, one behind the other from a
        multiple of its size, rounded up to a power of two.
    """
    names: set[str] = set()
    offsets: set[int] = set()
    for register in registers:
        name = register.name
        if name in names:
            raise ValueError(f"register {name} is there twice")
        if register.offset in offsets:
            raise ValueError(f"{name}: offset {register.offset:#04x} is taken")
        if register.offset % 4 or not 0 <= register.offset < 1 << addr_bits:
            raise ValueError(f"{name}: offset must be a multiple of 4 below {1 << addr_bits:#x}, "
                             f"not {register.offset:#x}")
        if register.refusable and register.access is not Access.W:
            raise ValueError(f"{name}: only a W register may refuse a write")
        names.add(name)
        offsets.add(register.offset)
        used = 0
        for field in register.fields:
            if field.low < 0 or field.width < 1 or field.low + field.width > DATA_BITS:
                raise ValueError(f"{name}.{field.name}: bits must lie in 0..{DATA_BITS - 1}")
            if used & field.mask:
                raise ValueError(f"{name}.{field.name}: overlaps another field")
            if register.access is Access.RW1C and field.width != 1:
                raise ValueError(f"{name}.{field.name}: a field of RW1C is one bit")
            used |= field.mask
    for bank, members in bank_registers(registers).items():
        first = members[0].offset
        size = 4 << (len(members) - 1).bit_length()
        if (first % size or any(register.access is not Access.R for register in members)
                or [register.offset for register in members]
                != list(range(first, first + 4 * len(members), 4))):
            raise ValueError(f"bank {bank}: must be R registers one behind the other from a "
                             f"multiple of {size}")


def bank_registers(registers: Iterable[Register]) -> dict[str, list[Register]]:
    """The registers of each bank, by its name."""
    banks: dict[str, list[Register]] = {}
    for register in registers:
        if register.bank:
            banks.setdefault(register.bank, []).append(register)
    return banks


def _flags(text: str) -> tuple[Field, ...]:
    return (Field(name="done", low=0, width=1, doc=f"{text}a job finished"),
            Field(name="error", low=1, width=1, doc=f"{text}an error was latched"),
            Field(name="space", low=2, width=1, doc=f"{text}a place in the queue came free"))


def _value(doc: str) -> tuple[Field, ...]:
    return (Field(name="value", low=0, width=32, doc=doc),)


_COUNTERS = {
    "BUSY": "cycles with a job in the unit: the sum of the five counters below",
    "ACTIVE": "cycles in which the array takes a column",
    "STALL_WEIGHTS": "cycles without work because no strip was loaded",
    "STALL_ACTS": "cycles without work because activations were missing",
    "STALL_RESULTS": "cycles without work because results could not leave",
    "OTHER": "busy cycles of no other kind",
}
COUNTERS = tuple(_COUNTERS)
"""The counters, in the order of their bank."""

REGISTERS = (
    Register(name="ID", offset=0x00, access=Access.R, doc="Which unit this is.",
             fields=_value(f"{UNIT_ID:#010x}")),
    Register(name="VERSION", offset=0x04, access=Access.R, doc="Versions of this build.", fields=(
        Field(name="patch", low=0, width=8, doc="unit version, patch"),
        Field(name="minor", low=8, width=8, doc="unit version, minor"),
        Field(name="major", low=16, width=8, doc="unit version, major"),
        Field(name="stream_version", low=24, width=8, doc="weight stream version it accepts"))),
    Register(name="GEOMETRY", offset=0x08, access=Access.R, doc="Shape of the array.", fields=(
        Field(name="rows", low=0, width=8, doc="tokens in a token group"),
        Field(name="cols", low=8, width=8, doc="outputs in a strip"),
        Field(name="block_inputs", low=16, width=8, doc="inputs per bit of a block bitmap"),
        Field(name="weight_bits", low=24, width=8, doc="bits of a weight"))),
    Register(name="BUILD", offset=0x0C, access=Access.R, doc="Other build parameters.", fields=(
        Field(name="bus_bytes", low=0, width=8, doc="bytes in a beat of the three streams"),
        Field(name="lanes", low=8, width=8, doc="results post-processed in a cycle"),
        Field(name="queue_depth", low=16, width=8, doc="jobs that may be outstanding"))),
    Register(name="MAX_K", offset=0x10, access=Access.R, doc="Largest K of a job.",
             fields=_value("inputs")),
    Register(name="ACT_WORDS", offset=0x14, access=Access.R,
             doc="Largest K * ceil(M / rows) of a job.",
             fields=_value("words in each half of the activation buffer")),
    Register(name="STATUS", offset=0x18, access=Access.R, doc="What the unit is doing.", fields=(
        Field(name="busy", low=0, width=1, doc="a job is in the unit"),
        Field(name="error", low=1, width=1, doc="an error is latched, until CONTROL.clear"),
        Field(name="clearing", low=2, width=1, doc="a clear is under way"),
        Field(name="queue_space", low=8, width=8, doc="jobs that may be pushed now"),
        Field(name="outstanding", low=16, width=8, doc="jobs pushed and not finished"))),
    Register(name="CONTROL", offset=0x1C, access=Access.W, doc="Commands; write 1.", fields=(
        Field(name="clear", low=0, width=1, doc="drop all jobs and the error, start afresh"),
        Field(name="counters_clear", low=1, width=1, doc="set the cycle counters to 0"))),
    Register(name="JOB_SHAPE", offset=0x20, access=Access.RW, doc="Next job: shape.", fields=(
        Field(name="inputs", low=0, width=16, doc="K"),
        Field(name="outputs", low=16, width=16, doc="N"))),
    Register(name="JOB_TOKENS", offset=0x24, access=Access.RW, doc="Next job: tokens and tag.",
             fields=(
        Field(name="tokens", low=0, width=16, doc="M"),
        Field(name="tag", low=16, width=8, doc="repeated in the weight stream and in DONE"))),
    Register(name="JOB_CONFIG", offset=0x28, access=Access.RW, doc="Next job: results.", fields=(
        Field(name="zero_point", low=0, width=8, signed=True, doc="added to scaled results"),
        Field(name="raw", low=8, width=1, doc="results are int32 sums, not int8"),
        Field(name="lut", low=9, width=1, doc="the weight stream begins with a table"))),
    Register(name="JOB_PUSH", offset=0x2C, access=Access.W, refusable=True,
             doc="Any write pushes the job held in the three registers above. Answers SLVERR, and "
                 "changes nothing, if STATUS.queue_space is 0, an error is latched or a clear is "
                 "under way."),
    Register(name="DONE", offset=0x30, access=Access.R, doc="Finished jobs.", fields=(
        Field(name="tag", low=0, width=8, doc="of the job that finished last"),
        Field(name="count", low=16, width=16, doc="jobs finished since reset, wraps"))),
    Register(name="ERROR", offset=0x34, access=Access.R,
             doc="The first error since reset or clear.", fields=(
        Field(name="cause", low=0, width=8, doc="see the causes below; 0: none"),
        Field(name="strip", low=16, width=16, doc="strip of the weight stream at that time"))),
    Register(name="IRQ_STATUS", offset=0x38, access=Access.RW1C, doc="Interrupt causes, sticky.",
             fields=_flags("")),
    Register(name="IRQ_MASK", offset=0x3C, access=Access.RW,
             doc="The interrupt line is up while IRQ_STATUS & IRQ_MASK is not 0.",
             fields=_flags("interrupt when ")),
    *(Register(name=name, offset=0x40 + 4 * index, access=Access.R, fields=_value("cycles, wraps"),
               doc=f"Counter: {doc}.", bank="counters")
      for index, (name, doc) in enumerate(_COUNTERS.items())),
)
"""Every register of the unit, by offset."""

TABLE = {register.name: register for register in REGISTERS}
"""The same by name."""

check_registers(REGISTERS, addr_bits=ADDR_BITS)


def build_values(config: ArrayConfig) -> dict[str, dict[str, int]]:
    """What the registers read that never change in a build.

    Returns
    -------
    dict
        Register name to field name to value: ID, VERSION, GEOMETRY, BUILD, MAX_K, ACT_WORDS.
    """
    major, minor, patch = UNIT_VERSION
    return {
        "ID": {"value": UNIT_ID},
        "VERSION": {"patch": patch, "minor": minor, "major": major,
                    "stream_version": spec.STREAM_VERSION},
        "GEOMETRY": {"rows": config.rows, "cols": config.cols,
                     "block_inputs": config.block_inputs, "weight_bits": config.weight_bits},
        "BUILD": {"bus_bytes": config.bus_bytes, "lanes": config.post_lanes,
                  "queue_depth": config.queue_depth},
        "MAX_K": {"value": config.max_k},
        "ACT_WORDS": {"value": config.act_words},
    }
