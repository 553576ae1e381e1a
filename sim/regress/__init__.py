"""Constrained random regression of the unit in RTL: cases, played, checked and shrunk."""
