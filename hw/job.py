"""Jobs as a driver speaks of them: descriptors, register words, tokens of each job.

No Amaranth here: drivers of a simulation and of a board share it.
"""
from dataclasses import dataclass

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.registers import Register
from sparseloom.model.errors import InputError
from sparseloom.model.packed import cycles
from sparseloom.model.packed.layer import PackedLayer


@dataclass(frozen=True, kw_only=True)
class Job:
    """A descriptor: what the three job registers take.

    Parameters
    ----------
    inputs, outputs, tokens : int
        K, N and M.
    tag : int
        0 to 255.
    zero_point : int
        -128 to 127.
    raw, lut : bool
    """

    inputs: int
    outputs: int
    tokens: int
    tag: int = 0
    zero_point: int = 0
    raw: bool = False
    lut: bool = False

    @classmethod
    def of(cls, layer: PackedLayer, tokens: int, tag: int) -> "Job":
        """The job that runs a layer."""
        return cls(inputs=layer.in_features, outputs=layer.out_features, tokens=tokens, tag=tag,
                   zero_point=layer.output_zero_point, raw=layer.raw, lut=layer.lut is not None)

    def writes(self) -> tuple[tuple[str, dict[str, int]], ...]:
        """Registers that describe the job, with their fields; JOB_PUSH comes after them."""
        return (("JOB_SHAPE", {"inputs": self.inputs, "outputs": self.outputs}),
                ("JOB_TOKENS", {"tokens": self.tokens, "tag": self.tag}),
                ("JOB_CONFIG", {"zero_point": self.zero_point, "raw": int(self.raw),
                                "lut": int(self.lut)}))


def pack_fields(register: Register, **fields: int) -> int:
    """Fields by name to the register's word; fields left out are 0."""
    word = 0
    for name, value in fields.items():
        field = register.field(name)
        word |= (value << field.low) & field.mask
    return word


def unpack_fields(register: Register, word: int) -> dict[str, int]:
    """A register's word to fields by name; signed fields are signed."""
    values = {}
    for field in register.fields:
        value = (word & field.mask) >> field.low
        if field.signed and value >> (field.width - 1):
            value -= 1 << field.width
        values[field.name] = value
    return values


def split_tokens(tokens: int, *, inputs: int, config: ArrayConfig) -> list[int]:
    """Tokens of each job of a build, see :func:`.model.packed.cycles.split_tokens`.

    Parameters
    ----------
    tokens, inputs : int
        M and K.
    config : ArrayConfig

    Raises
    ------
    InputError
        If K does not fit the unit.
    """
    if inputs > config.max_k:
        raise InputError(f"inputs: expected at most max_k = {config.max_k}, found {inputs}")
    return cycles.split_tokens(tokens, inputs=inputs, rows=config.rows,
                               act_words=config.act_words)
