"""Latencies of the unit in cycles, as plain data: what the cycle model knows of each part.

``tests/hw/test_timing.py`` holds every number against the parts themselves. Whoever adds a register
in ``hw/`` changes one line here.
"""

FIFO = 2
"""FIFOs of bitmap and masks: from a beat to the word at the output, if none waits before it."""
CUT = 1
"""A gearbox that cuts words: from a word's way into it until it moves on into the second register,
if that is empty; its first part is there in the next cycle."""

# The job queue.
PUSH = 1
"""From the write to JOB_PUSH until the queue takes the descriptor."""
JUDGE = 3
"""Cycles of a descriptor's check behind one for each group of tokens."""
JOB_SEEN = 2
"""From a descriptor's last cycle of checks until the stages see the job."""
JOB_NEXT = 2
"""From a stage's last cycle with a job until it sees the next one."""

# The strip loader.
JOB_START = 1
"""A job's first cycle in the strip loader, before its first packet."""
PACKET_START = 1
"""From "a bank is free" to the first beat of a packet's header."""
HEADER_CHECK = 1
"""Cycles between a header and the section behind it."""
EXPAND_LOAD = 1
"""From a word of bitmap or masks at its FIFO's output until its bits are looked at."""
EXPAND_DONE = 3
"""From the last index, or the last look at the bitmap, to ``done``."""
PACKET_CHECK = 2
"""From the cycle behind a packet's last beat to its last check, if masks and words are through."""
SETTLED = 1
"""From the first cycle with masks and words through to a packet's last check, if that is later."""
PACKET_END = 1
"""From a packet's last check until the loader looks for the next one."""
STRIP_READY = 2
"""From a strip's last check until the walk sees it."""

# The activation loader.
ACTS_START = 1
"""From "a half is free" to the first beat."""
ACTS_READY = 3
"""From a job's last word until the walk sees it."""

# Walk and issue.
JOB_BEGUN = 3
"""From a job's first cycle in the walk until it takes the first tile."""
TILE_TAKE = 1
"""From "all is there" until the walk takes the tile."""
TILE_OFFER = 2
"""From the tile's taking by the walk until the issuer has judged it."""
OPERANDS = 5
"""From a column's address to its operands at the array; buffers may be written again after it."""
WALK_NEXT = 2
"""From a tile's begin until the walk takes the next one."""
FREED = 1
"""From the release of a bank or a half until it counts as free."""
ROOM = 2
"""From a word that leaves the result FIFO until its room may be used by a tile's begin."""

# From the array to the result stream.
CAPTURE = 4
"""A cell: from the last operands to the sum in the drain register."""
DRAIN = 1
"""From the array's edge to a step of post-processing."""
POSTPROCESS = 15
"""From a step to its results."""
RESULT_FIFO = 3
"""From results to the word at the result FIFO's output, if none waits before it."""
RESULT_REGISTER = 1
"""From a packed beat to the beat on the stream."""
