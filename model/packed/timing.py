"""Latencies of the unit in cycles, as plain data: what the cycle model knows of each part.

``tests/hw/test_timing.py`` holds every number against the parts themselves. Whoever adds a register
in ``hw/`` changes one line here.
"""

BITMAP = 2
"""From a beat of the bitmap to the word at the expander, if none waits before it."""
MASKS = 4
"""The same for a beat of masks."""

# The job queue.
PUSH = 0
"""From the write to JOB_PUSH until the queue takes the descriptor."""
PLACE_SEEN = 3
"""From a place's coming free, or the end of a descriptor's check, until a write may take it."""
RETIRED = 4
"""From a job's last packed beat until the job's place in the queue is free."""
TABLE_FREED = 2
"""From then until the strip loader sees that the job's table is."""
JUDGE = 4
"""Cycles of a descriptor's check beside one for each group of tokens."""
JOB_SEEN = 2
"""From a descriptor's last cycle of checks until the stages see the job."""
JOB_NEXT = 3
"""From a stage's last cycle with a job until it sees the next one."""

# The strip loader.
JOB_START = 2
"""A job's first cycle in the strip loader, before its first packet."""
PACKET_START = 1
"""From "a bank is free" to the first beat of a packet's header."""
BEAT = 1
"""From a beat's taking until the gearboxes see it."""
HEADER_CHECK = 2
"""Cycles between a header and the section behind it."""
EXPAND_SCAN = 4
"""From a word of the bitmap at its memory's output until its first bit is looked at."""
EXPAND_LOAD = 3
"""From a word of masks at its memory's output until its first mask may be taken."""
EXPAND_DONE = 3
"""From the last index, or the last look at the bitmap, to ``done``."""
PACKET_CHECK = 7
"""From the cycle behind a packet's last beat to its last check, if masks and words are through."""
SETTLED = 2
"""From the first cycle with masks and words through to a packet's last check, if that is later."""
PACKET_END = 1
"""From a packet's last check until the loader looks for the next one."""
STRIP_READY = 2
"""From a strip's last check until the walk sees it."""

# The activation loader.
ACTS_START = 1
"""From "a half is free" to the first beat."""
ACTS_READY = 4
"""From a job's last word until the walk sees it."""
ACTS_END = 2
"""From a job's last word to the loader's last cycle with the job."""

# Walk and issue.
JOB_BEGUN = 3
"""From a job's first cycle in the walk until it takes the first tile."""
TILE_TAKE = 1
"""From "all is there" until the walk takes the tile."""
TILE_OFFER = 2
"""From the tile's taking by the walk until the issuer has judged it."""
STEP = 2
"""Cells side by side, and one above the other, that have their operands in the same cycle."""
OPERANDS = 8
"""From a column's address to its first operands at the array."""
READ = 5
"""From a column's address until its first operands are being read: the last ones so many cycles
later as there are steps of the skew."""
WALK_NEXT = 2
"""From a tile's begin until the walk takes the next one."""
FREED = 1
"""From the release of a bank or a half, when its last operands are being read, until it counts as
free."""
ROOM = 3
"""From a word that leaves the result FIFO until its room may be used by a tile's begin."""

# From the array to the result stream.
CAPTURE = 5
"""A cell: from the last operands to the sum in the drain register."""
DRAIN = 1
"""From the array's edge to a step of post-processing."""
POSTPROCESS = 17
"""From a step to its results."""
RESULT_FIFO = 3
"""From results to the word at the result FIFO's output, if none waits before it."""
RESULTS_NEXT = 4
"""From a job's last packed beat to the next job's first word, if that waits for it."""
RESULT_REGISTER = 2
"""From a packed beat to the beat on the stream."""
