"""Timing contestants in turn, and the statistics of what was timed."""

import statistics
import time

BFLOAT16 = ", bfloat16"  # ends the names of contestants whose products are in it
REST = 0.1  # seconds before each piece of work: idle threads of OpenMP and OpenBLAS spin for a while, on others' cores


class Skipped(Exception):
    """A table cannot be measured here; says why."""


def rounds(contestants, repeats, prepare=None):
    """Time every contestant in every round, so that a machine that slows down slows all of them.

    Parameters
    ----------
    contestants : dict of str to function
        Each does one piece of work and returns (tokens done, a value to keep).
    repeats : int
        Rounds after the first, which warms up and compiles and is not counted.
    prepare : function, optional
        Called before every round, outside the clock.

    Returns
    -------
    dict of str to dict
        "rates": tokens a second of every round; "cores": processor time over time on the clock; "value": the
        last value returned.
    """
    results = {name: {"rates": [], "cores": [], "value": None} for name in contestants}
    for turn in range(repeats + 1):
        if prepare is not None:
            prepare()
        for name, work in contestants.items():
            time.sleep(REST)
            start, cpu = time.perf_counter(), time.process_time()
            tokens, value = work()
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            results[name]["value"] = value
            if turn:
                results[name]["rates"].append(tokens / seconds)
                results[name]["cores"].append(cpu / seconds)
    return results


def ratios(ours, theirs):
    """Our rate over theirs within every round."""
    return [a / b for a, b in zip(ours["rates"], theirs["rates"], strict=True)]


def median(result):
    """The median rate of one contestant."""
    return statistics.median(result["rates"])


def spread(values, form="{:,.0f}"):
    """ "median (lowest to highest)"."""
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"
