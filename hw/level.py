"""A count of few things, a bit for each: no adder, and every bit is a flag by itself."""
from amaranth.hdl import Cat, Mux, Value


def counted(level: Value, more: Value, less: Value) -> Value:
    """What a level is when one thing comes, one goes, or both.

    Parameters
    ----------
    level : Value
        Bit n says that there are more than n.
    more, less : Value
        One bit each. None comes where all bits are up, none goes where none is, but together with
        the other.

    Returns
    -------
    Value
        As wide as ``level``.
    """
    return Mux(more == less, level, Mux(more, Cat(1, level[:-1]), level[1:]))
