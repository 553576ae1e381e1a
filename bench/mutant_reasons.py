"""Why mutants of the default run survive, each looked at in the netlist."""

REASONS: dict[str, str] = {}
"""By place and change, as ``bench.rtl_mutants`` prints them."""
