"""The packed format: bit layouts, codec, artefact, streams, cycle model. Never imports torch."""
