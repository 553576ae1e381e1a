"""Hardware half: the block-sparse matrix unit as Amaranth components. Never imports torch."""
