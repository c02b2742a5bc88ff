"""The claims that a finding is made of, each with the statistic that decides it. Pure functions of the results.

Every claim is decided by a rule that is fixed before anything runs, on the 95 % interval of its statistic:
    held            the interval lies wholly on the claimed side
    did not hold    it excludes an effect as large as the smallest one that counts (`least`)
    undecided       neither: there are too few seeds, prompts or steps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from prefloop.stats.crossed import CrossedMean, crossed_mean
from prefloop.stats.intervals import mean_interval
from prefloop.studies.results import Floats, Path, Results
from prefloop.types import Interval

Verdict = Literal["held", "did not hold", "undecided"]
Rule = Callable[[float, float], Verdict]  # of the ends of an interval

LEVELS = 6  # of KL, at which arms are compared
WORDS = {
    "win": "win rate against the start",
    "gold": "gold score",
    "proxy": "labelling judge's score",
    "length": "number of characters",
    "accuracy": "accuracy on stored pairs",
    "chosen": "log-prob gained by the better stored answers",
}


@dataclass(frozen=True, slots=True)
class AtLevel:
    """A difference at one level of KL."""

    kl: float
    mean: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a claim. `why` says what was missing where it is undecided for want of data."""

    claim: str
    verdict: Verdict
    statistic: str
    estimate: float | None = None
    interval: Interval | None = None
    measure: str = ""  # what the estimate is a difference of
    why: str = ""
    levels: tuple[AtLevel, ...] = ()


class Claim(Protocol):
    """A statement about arms of a study, by their names."""

    @property
    def arms(self) -> tuple[str, ...]: ...

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that it names itself."""
        ...

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        """Decide it by `measure`, unless it names its own."""
        ...


@dataclass(frozen=True, slots=True)
class Above:
    """One arm is above another at equal KL: the mean difference over the levels that both reach is above 0."""

    better: str
    worse: str
    least: float = 0.02  # the smallest mean difference that counts
    by: str = ""  # a measure of its own, instead of the study's

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.better, self.worse)

    @property
    def measures(self) -> tuple[str, ...]:
        return (self.by,) if self.by else ()

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        better, worse = titles[self.better], titles[self.worse]
        claim = f"{better} is above {worse} at equal KL"
        if self.by:
            claim = f"{better} is above {worse} in {WORDS[self.by]} at equal KL"
        return _at_equal_kl(claim, results, self.arms, self.by or measure, _positive(self.least))


@dataclass(frozen=True, slots=True)
class Near:
    """Two arms do not differ by more than a margin: the whole interval of their mean difference lies within it."""

    one: str
    other: str
    within: float = 0.03

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.one, self.other)

    @property
    def measures(self) -> tuple[str, ...]:
        return ()

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        claim = f"{titles[self.one]} is no more than {self.within:g} from {titles[self.other]} at equal KL"
        return _at_equal_kl(claim, results, self.arms, measure, self._rule)

    def _rule(self, low: float, high: float) -> Verdict:
        if -self.within < low and high < self.within:
            return "held"
        return "did not hold" if low > self.within or high < -self.within else "undecided"


@dataclass(frozen=True, slots=True)
class _OfOneArm:
    """A claim about one measure of one arm. `least`: the smallest effect that counts."""

    arm: str
    measure: str
    least: float = 0.0

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    @property
    def measures(self) -> tuple[str, ...]:
        return (self.measure,)


@dataclass(frozen=True, slots=True)
class Rises(_OfOneArm):
    """A measure of an arm's last policy is above that of the start."""

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        del measure
        return _since_start(self, results, titles, upwards=True)


@dataclass(frozen=True, slots=True)
class Falls(_OfOneArm):
    """A measure of an arm's last policy is below that of the start."""

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        del measure
        return _since_start(self, results, titles, upwards=False)


@dataclass(frozen=True, slots=True)
class PeaksLater:
    """Gold of one arm is highest at a higher KL than that of another."""

    later: str
    earlier: str
    least: float = 0.1  # nats

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.later, self.earlier)

    @property
    def measures(self) -> tuple[str, ...]:
        return ("gold",)

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        del measure
        claim = f"gold of {titles[self.later]} has its peak at a higher KL than that of {titles[self.earlier]}"
        statistic = "the difference of the KL, in nats, at which gold was highest, seed by seed"
        later, earlier = (_peaks(results, arm) for arm in self.arms)
        gaps = [one - other for one, other in zip(later, earlier, strict=True)]
        found, interval = (float(np.mean(gaps)) if gaps else None), mean_interval(gaps)
        if interval is None:
            return Decided(
                claim, "undecided", statistic, found, measure="kl", why="one seed says nothing about the next"
            )
        verdict = _positive(self.least)(interval.low, interval.high)
        why = "the interval allows both" if verdict == "undecided" else ""
        return Decided(claim, verdict, statistic, found, interval, "kl", why)


@dataclass(frozen=True, slots=True)
class Turns(_OfOneArm):
    """A measure of an arm goes up and comes down again: the last policy is below the best one.

    The best one is chosen on one half of the prompts and read on the other, in every run, so that luck makes no peak.
    """

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        del measure
        word = WORDS[self.measure]
        claim = f"the {word} of {titles[self.arm]} falls again after its peak"
        table = _by_seed(results, self.arm, lambda path: fall_after_peak(path.table(self.measure)))
        statistic = f"the {word} of the best policy on the way minus that of the last"
        return _decided(claim, statistic, self.measure, table, _positive(self.least))


@dataclass(frozen=True, slots=True)
class Same:
    """Two arms end in the same policy, to a tolerance: for exact computations, in which nothing is sampled."""

    one: str
    other: str
    tolerance: float = 1e-6

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.one, self.other)

    @property
    def measures(self) -> tuple[str, ...]:
        return ()

    def decide(self, results: Results, *, measure: str, titles: dict[str, str]) -> Decided:
        del measure
        ones, others = results.of(self.one), results.of(self.other)
        claim = f"{titles[self.one]} and {titles[self.other]} end in the same policy, to {self.tolerance:g}"
        statistic = "the largest difference between two probabilities, over all outcomes, settings and seeds"
        gaps = [
            float(np.abs(a.table("law")[-1] - b.table("law")[-1]).max())
            for setting in sorted(ones.keys() & others.keys())
            for a, b in zip(ones[setting], others[setting], strict=True)
        ]
        if not gaps:
            return Decided(claim, "undecided", statistic, why="no setting is finished in both")
        gap = max(gaps)
        verdict: Verdict = "held" if gap <= self.tolerance else "did not hold"
        return Decided(claim, verdict, statistic, gap, Interval(gap, gap), measure="law")


def overall(decided: Sequence[Decided]) -> Verdict:
    """Give a finding's verdict: it held if all of its claims held, and did not hold if one did not."""
    verdicts = [one.verdict for one in decided]
    if "did not hold" in verdicts:
        return "did not hold"
    return "held" if verdicts and all(one == "held" for one in verdicts) else "undecided"


def fall_after_peak(table: Floats) -> Floats:
    """Give, for each prompt (prompts,), the best point's value minus the last one's, of a table (points, prompts)."""
    fall = np.empty(table.shape[1])
    for half in (0, 1):
        here, there = slice(half, None, 2), slice(1 - half, None, 2)
        peak = int(table[:, there].mean(axis=1).argmax()) if table[:, there].size else len(table) - 1
        fall[here] = table[peak, here] - table[-1, here]
    return fall


def _since_start(claim: _OfOneArm, results: Results, titles: dict[str, str], *, upwards: bool) -> Decided:
    word, way = WORDS[claim.measure], "above" if upwards else "below"
    high, low = (-1, 0) if upwards else (0, -1)  # of the points, the start's is the first

    def moved(path: Path) -> Floats:
        table = path.table(claim.measure)
        gap: Floats = table[high] - table[low]
        return gap

    said = f"the {word} of {titles[claim.arm]} ends {way} the start's"
    statistic = (
        f"the last policy's {word} minus the start's" if upwards else f"the start's {word} minus the last policy's"
    )
    return _decided(said, statistic, claim.measure, _by_seed(results, claim.arm, moved), _positive(claim.least))


def _peaks(results: Results, arm: str) -> list[float]:
    """Give for each seed the KL at which gold was highest, averaged over the arm's settings."""
    by_setting = [
        [path.points[int(path.table("gold").mean(axis=1).argmax())].kl for path in paths]
        for paths in results.of(arm).values()
    ]
    return [float(np.mean(of_seed)) for of_seed in zip(*by_setting, strict=True)]


def _positive(least: float) -> Rule:
    """Held above 0; did not hold where everything from `least` on is excluded."""

    def rule(low: float, high: float) -> Verdict:
        if low > 0:
            return "held"
        return "did not hold" if high < least or high <= 0 else "undecided"

    return rule


def _at_equal_kl(claim: str, results: Results, arms: tuple[str, ...], measure: str, rule: Rule) -> Decided:
    one, other = arms
    levels = results.levels(arms, LEVELS)
    gaps = [results.best(one, kl, measure) - results.best(other, kl, measure) for kl in levels]
    at_levels = tuple(
        AtLevel(kl, found.mean, found.interval)
        for kl, gap in zip(levels, gaps, strict=True)
        for found in (crossed_mean(gap),)
    )
    statistic = f"the mean difference of the {WORDS[measure]} over {LEVELS} levels of KL that both arms reach"
    table = np.mean(gaps, axis=0) if gaps else None
    return _decided(claim, statistic, measure, table, rule, at_levels)


def _by_seed(results: Results, arm: str, of_path: Callable[[Path], Floats]) -> Floats | None:
    """Average over the settings of an arm what each path gives: a table (seeds, prompts)."""
    tables = [np.stack([of_path(path) for path in paths]) for paths in results.of(arm).values()]
    return np.mean(tables, axis=0) if tables else None


def _decided(
    claim: str, statistic: str, measure: str, table: Floats | None, rule: Rule, levels: tuple[AtLevel, ...] = ()
) -> Decided:
    if table is None:
        why = "no run of both arms has moved from the start yet" if not levels else ""
        return Decided(claim, "undecided", statistic, measure=measure, why=why)
    found: CrossedMean = crossed_mean(table)
    if found.interval is None:
        why = "one seed, or one prompt, says nothing about the next"
        return Decided(claim, "undecided", statistic, found.mean, None, measure, why, levels)
    verdict = rule(found.interval.low, found.interval.high)
    why = "the interval allows both" if verdict == "undecided" else ""
    return Decided(claim, verdict, statistic, found.mean, found.interval, measure, why, levels)
