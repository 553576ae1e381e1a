"""What pruning buys on hardware, counted layer by layer."""
