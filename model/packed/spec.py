"""Bit layouts of the packed format as plain data: no torch, no numpy, no Amaranth.

Every record is a tuple of ``(field, bits)``, least significant bit first, little-endian in bytes.
``docs/format.md`` explains them with a worked example.
"""

ARTEFACT_VERSION = 1
"""Version of ``sparseloom.safetensors``."""

STREAM_VERSION = 1
"""Version of the weight stream, first byte of each packet's header."""

ALIGN_BYTES = 16
"""Each section of a packet is padded with zero bytes to a multiple of this.

It is the widest bus, so a section starts on a beat whatever the bus width.
"""

KIND_STRIP = 1
KIND_LUT = 2

HEADER = (
    ("version", 8),
    ("kind", 8),          # KIND_STRIP or KIND_LUT
    ("tag", 8),           # job tag, repeated from the descriptor
    ("weight_bits", 8),
    ("cols", 8),          # outputs per strip: the array's C
    ("block_inputs", 8),  # inputs per bit of the block bitmap: the unit's q
    ("inputs", 16),       # K
    ("strip", 16),        # index of this strip, 0 for a lut packet
    ("columns", 16),      # surviving columns, 0 for a lut packet
    ("blocks", 16),       # present blocks, 0 for a lut packet
    ("reserved", 16),     # zero
)
"""First section of every packet, 16 bytes."""

OUTPUT_PARAMS = (("bias", 32), ("mult", 16), ("shift", 8), ("reserved", 8))
"""Per output of a strip, 8 bytes; ``bias`` is two's complement."""

TRAILER = (("reserved", 96), ("crc", 32))
"""Last section of every packet, 16 bytes.

``crc`` is CRC-32 (IEEE 802.3, as ``zlib.crc32``) of all bytes of the packet before it.
"""

CRC_RESIDUE = 0x2144DF1C
"""``zlib.crc32`` of a whole packet, its CRC included, if nothing was damaged."""

LUT_ENTRIES = 256
"""Entry ``i`` of a table (one signed byte) serves ``y = i - 128``."""

TAG_BITS = 8

MULT_MIN, MULT_MAX = 1 << 15, (1 << 16) - 1
SHIFT_MIN, SHIFT_MAX = 1, 47
WEIGHT_LIMIT = {8: 127, 4: 7}
"""Largest magnitude of a weight, by ``weight_bits``."""


def column_bytes(cols: int, weight_bits: int) -> int:
    """Bytes of one column's weights in a strip packet.

    Weights of 4 bits go two to a byte, the lower output in the lower half; a column of an odd
    number of them ends with four zero bits, so that each column begins on a byte.
    """
    return -(-cols * weight_bits // 8)


BIAS_LIMIT = (1 << 31) - 1
PRODUCT_BITS = 14
"""``|bias| <= BIAS_LIMIT - K * 2**PRODUCT_BITS``, so that the sum never leaves int32."""

ERROR_CAUSES = {
    0: ("none", "no error"),
    1: ("version", "packet header: unknown stream version"),
    2: ("kind", "packet header: a table where a strip was due, or the reverse, or neither"),
    3: ("tag", "packet header: tag differs from the job's"),
    4: ("geometry", "packet header: cols, block_inputs or inputs differ from the build or the job"),
    5: ("weight_bits", "packet header: weight_bits differs from the build"),
    6: ("strip", "packet header: strip index out of order"),
    7: ("count", "packet header: more columns than inputs, or blocks than bits in the bitmap"),
    8: ("popcount", "masks: set bits differ from the header's counts"),
    9: ("range", "masks: a bit set at or beyond the job's number of inputs"),
    10: ("params", "output parameters: mult or shift outside its range"),
    11: ("crc", "packet trailer: CRC-32 does not hold"),
    12: ("weights_early_last", "weight stream: TLAST before the job's last packet ended"),
    13: ("weights_late_last", "weight stream: no TLAST at the end of the job's last packet"),
    14: ("weights_keep", "weight stream: a beat with bytes left out"),
    15: ("acts_early_last", "activation stream: TLAST before the job's last word"),
    16: ("acts_late_last", "activation stream: no TLAST with the job's last word"),
    17: ("acts_keep", "activation stream: TKEEP not contiguous, or not full before the last beat"),
    18: ("job", "descriptor: K, N or M zero, K above max_k, K * groups above act_words, or raw "
                "and lut"),
    19: ("reserved", "packet header, output parameters or trailer: reserved bits set"),
}
"""Cause code in the unit's error register and in the closing result byte: (name, meaning)."""
