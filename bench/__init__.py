"""Measurements. Run its files as modules (``python -m bench.glue``), from the repository's root."""
