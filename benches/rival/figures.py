"""Medians with their middle halves, and verdicts by them."""

from statistics import median, quantiles


def spread(values):
    """Median, first and third quartile; None of no values."""
    if not values:
        return None
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return median(values), low, high


def judge(interval, bound):
    """Whether what was measured is at least `bound`, in words."""
    middle, low, high = interval
    if low >= bound:
        return "yes"
    if middle >= bound:
        return "yes by the median, though the interval reaches below"
    if high >= bound:
        return "no by the median, though the interval reaches above"
    return "no"


def show(interval, unit=""):
    if interval is None:
        return "-"
    middle, low, high = interval
    return f"{middle:.2f}{unit} ({low:.2f}..{high:.2f})"


def unique(things, of_thing):
    """What is said of each, once, in the order of the things."""
    return list(dict.fromkeys(map(of_thing, things)))


def parting(one, other):
    """The first character at which two texts differ."""
    same = (i for i, (a, b) in enumerate(zip(one, other)) if a != b)
    return next(same, min(len(one), len(other)))
