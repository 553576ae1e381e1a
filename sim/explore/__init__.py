"""Design-space exploration: which array, pruning and build for a device and a model."""
