"""Latencies of the unit in cycles, as plain data: what the cycle model knows of each part.

``tests/hw/test_timing.py`` holds every number against the parts themselves. Whoever adds a register
in ``hw/`` changes one line here.
"""

FIFO = 2
"""Buffered FIFO: from a write to the word at its output, while nothing waits in it."""

# The job queue.
JOB_SEEN = 1
"""From a descriptor's last cycle of checks until the stages see the job."""

# The strip loader.
JOB_START = 1
"""A job's first cycle in the strip loader, before its first packet."""
PACKET_START = 1
"""From "a bank is free" to the first beat of a packet's header."""
HEADER_CHECK = 1
"""Cycles between a header and the section behind it."""
EXPAND_LOAD = 1
"""From a word of bitmap or masks at its FIFO's output until its bits are looked at."""
EXPAND_DONE = 2
"""From the last index, or the last look at the bitmap, to ``done``."""
STRIP_READY = 1
"""From a strip's last check until the walk sees it, and until the next packet may start."""

# The activation loader.
ACTS_START = 1
"""From "a half is free" to the first beat."""
ACTS_READY = 1
"""From the last word until the walk sees the job, and until the next job may start."""

# Walk and issue.
JOB_BEGUN = 1
"""From a job's first cycle in the walk to its first tile."""
TILE_OFFER = 1
"""From the walk's decision to the tile in front of the issuer."""
OPERANDS = 5
"""From a column's address to its operands at the array; buffers may be written again after it."""
FREED = 1
"""From the release of a bank, a half or room until it counts as free."""

# From the array to the result stream.
CAPTURE = 3
"""A cell: from the last operands to the sum in the drain register."""
DRAIN = 1
"""From the array's edge to a step of post-processing."""
POSTPROCESS = 10
"""From a step to its results in front of the result FIFO."""
RESULT_REGISTER = 1
"""From a packed beat to the beat on the stream."""
