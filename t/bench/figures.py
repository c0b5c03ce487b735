# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios, and the figures that the project has set itself, reached or not.

A ratio of servers is the median of the rounds' ratios: what is divided was measured seconds apart,
so that a machine which slows down for a while slows both. A ratio of storages is that of the
medians of all rounds. The range behind either is that of the rounds' ratios.
"""

import statistics
from dataclasses import asdict, dataclass

from t.bench.servers import DAEMON, EMBEDDED, OURS, STATIC


@dataclass(frozen=True)
class Figure:
    """A value, what it must be, and the range it had."""

    name: str
    value: float
    target: float
    at_least: bool = True
    low: float | None = None
    high: float | None = None

    @property
    def reached(self):
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_json(self):
        return asdict(self) | {"reached": self.reached}


def ratios(samples, field, above, below):
    """Of the rounds in which both were measured; `field` is rate or cpu."""
    pairs = zip(samples.get(above, ()), samples.get(below, ()), strict=False)
    return [getattr(a, field) / getattr(b, field) for a, b in pairs if getattr(b, field)]


def median(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


# What is divided by what, in which case, and how much it must be.
HTTP = (
    ("hello: requests/s ÷ static file", "hello", "rate", STATIC, 0.80, True),
    ("hello: requests/s ÷ mod_wsgi daemon", "hello", "rate", DAEMON, 2.0, True),
    ("hello: CPU a request ÷ mod_wsgi embedded", "hello", "cpu", EMBEDDED, 1.1, False),
    ("64 KB: requests/s ÷ mod_wsgi daemon", "64 KB", "rate", DAEMON, 2.4, True),
)


def http_figures(results):
    """`results` is {case name: {server name: [Sample]}}."""
    for name, case, field, peer, target, at_least in HTTP:
        found = ratios(results[case], field, OURS, peer)
        middle = statistics.median(found)
        yield Figure(name, middle, target, at_least, min(found), max(found))


def storage_figures(rounds, required):
    """`rounds` is {what: {storage: [microseconds]}}; what has no requirement is no figure."""
    for what, target in required.items():
        if target is None:
            continue
        ours, theirs = rounds[what]["mod_pipeline"], rounds[what]["RelStorage"]
        found = [b / a for a, b in zip(ours, theirs, strict=True)]
        value = statistics.median(theirs) / statistics.median(ours)
        yield Figure(f"SQLite, {what}: RelStorage ÷ ours", value, target, True, *_range(found))


def _range(values):
    return min(values), max(values)


def table(case, samples):
    """The lines of one case."""
    yield f"{case:22}{'req/s':>10}{'÷ static':>10}{'÷ mod_wsgi':>12}{'CPU µs':>9}{'errors':>8}"
    for name, taken in samples.items():
        columns = [f"{median(taken, 'rate'):10,.0f}"]
        for width, peer in ((10, STATIC), (12, DAEMON)):
            found = ratios(samples, "rate", name, peer)
            columns.append(f"{statistics.median(found):{width}.2f}" if found else "–".rjust(width))
        columns.append(f"{median(taken, 'cpu'):9,.0f}")
        columns.append(f"{sum(sample.bad for sample in taken):8}")
        yield f"  {name:20}" + "".join(columns)
    yield ""


def verdicts(figures):
    """The lines of the figures."""
    yield f"{'Figure':46}{'is':>8}{'must be':>10}   rounds"
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        spread = "" if figure.low is None else f"{figure.low:.2f}–{figure.high:.2f}"
        word = "reached" if figure.reached else "NOT REACHED"
        yield (
            f"{figure.name:46}{figure.value:8.2f}{f'{sign} {figure.target:.2f}':>10}"
            f"   {spread:12} {word}"
        )
