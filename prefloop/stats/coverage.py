"""How often the intervals of the reports contain the truth, by simulation.

An artificial project has comparisons of four models, gold labels, three people who vote on some at random, and two
judges that are asked several times about each. A judge's verdicts on one comparison are correlated: some comparisons
are hard for it, and it repeats itself. Ties occur in gold, votes and verdicts. The true value of a figure is that of
the same report on very many such comparisons. A nominal 95 % interval should contain it in 93 to 97 of 100 projects.

    python -m prefloop.stats coverage --items 30 --verdicts 6 --projects 400
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prefloop.stats.board_win_rates import win_rates_report
from prefloop.stats.columns import AgreementColumns
from prefloop.stats.games import HUMAN, SCORE_OF_CODE, GameColumns
from prefloop.stats.intervals import mean_interval
from prefloop.stats.leaderboard import leaderboard_report_of_columns
from prefloop.stats.report import agreement_report_of_columns
from prefloop.stats.winrate import win_rate_by_prompt

Ints = NDArray[np.int64]
Found = dict[str, tuple[float, list[float] | None]]  # figure: its value, and its interval

MODELS, JUDGES, PEOPLE = ("m0", "m1", "m2", "m3"), ("j0", "j1"), ("p0", "p1", "p2")
_STRENGTH = np.array([0.8, 0.3, -0.3, -0.8])
_TIES, _REPEATS = 0.12, 0.6  # share of ties in truth; how often a judge says of a comparison what it said before
_ENOUGH = 40_000  # comparisons that the truth is told from


@dataclass(frozen=True, slots=True)
class Project:
    agreement: AgreementColumns
    games: GameColumns


def make(n_items: int, n_verdicts: int, rng: np.random.Generator) -> Project:
    """Draw a project; `n_verdicts` of each judge on each comparison, alternating which answer is shown first."""
    a = rng.integers(0, len(MODELS), n_items)
    b = (a + rng.integers(1, len(MODELS), n_items)) % len(MODELS)
    lengths = rng.integers(20, 600, (n_items, 2))
    pull = np.tanh((lengths[:, 0] - lengths[:, 1]) / 250)
    won = rng.random(n_items) < expit(_STRENGTH[a] - _STRENGTH[b] + 0.5 * pull)
    gold = np.where(rng.random(n_items) < _TIES, 2, np.where(won, 0, 1))
    item = np.tile(np.repeat(np.arange(n_items), n_verdicts), len(JUDGES))
    judge = np.repeat(np.arange(len(JUDGES)), n_items * n_verdicts)
    swapped = np.tile(np.arange(n_verdicts) % 2 == 1, n_items * len(JUDGES))
    said, p = _verdicts(item, judge, swapped, gold, n_items, rng)
    voter_item = np.repeat(np.arange(n_items), len(PEOPLE))
    voter = np.tile(np.arange(len(PEOPLE)), n_items)
    votes = np.where(rng.random(len(voter)) < 0.8, gold[voter_item], rng.integers(0, 3, len(voter)))
    asked = (rng.random(n_items) < 0.6)[voter_item]
    columns = AgreementColumns(
        gold=gold,
        length_first=lengths[:, 0],
        length_second=lengths[:, 1],
        raters=PEOPLE,
        vote_item=voter_item[asked],
        vote_rater=voter[asked],
        vote_outcome=votes[asked],
        judges=JUDGES,
        verdict_item=item,
        verdict_judge=judge,
        verdict_swapped=swapped,
        verdict_sample=np.tile(np.arange(n_verdicts) // 2, n_items * len(JUDGES)),
        verdict_outcome=said,
        verdict_p=p,
        models=MODELS,
        model_first=a,
        model_second=b,
        judge_models=((0,), ()),
    )
    everyone = np.concatenate([item, voter_item[asked]])
    games = GameColumns(
        models=MODELS,
        a=a[everyone],
        b=b[everyone],
        score=SCORE_OF_CODE[np.concatenate([said, votes[asked]])],
        shown=np.concatenate([1.0 - 2.0 * swapped, np.zeros(int(asked.sum()))]),
        item=everyone,
        length_difference=(lengths[:, 0] - lengths[:, 1])[everyone].astype(np.float64),
        source=np.concatenate([judge, np.full(int(asked.sum()), HUMAN)]),
    )
    return Project(columns, games)


def _verdicts(
    item: Ints, judge: Ints, swapped: NDArray[np.bool_], gold: Ints, n_items: int, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.float64]]:
    ease = rng.beta(2.0, 0.8, (len(JUDGES), n_items))[judge, item]
    favourite = rng.choice(3, (len(JUDGES), n_items), p=[0.45, 0.4, 0.15])[judge, item]
    slot = np.where(swapped, 1, 0)  # what a judge says that looks at the place alone
    fresh = np.where(rng.random(len(item)) < 0.3, slot, rng.integers(0, 3, len(item)))
    guess = np.where(rng.random(len(item)) < _REPEATS, favourite, fresh)
    said = np.where(rng.random(len(item)) < ease, gold[item], guess)
    sure = 0.5 + 0.45 * rng.random(len(item))
    return said, np.where(said == 0, sure, np.where(said == 1, 1 - sure, 0.5))


def figures(project: Project, *, n_bootstrap: int = 200) -> Found:
    """Give every interval of both reports under a name of its own, for each model and judge."""
    found: Found = {}
    report = agreement_report_of_columns(project="simulated", columns=project.agreement, n_bootstrap=n_bootstrap)
    for judge in report["judges"]:
        _judge(found, judge)
    for pair in report["judge_pairs"]:
        found["two judges agree"] = pair["agreement"], pair["agreement_ci95"]
        found["two judges kappa"] = pair["cohen_kappa"], pair["ci95"]
    for at, pair in enumerate(report["human_human"]["pairs"]):
        found[f"two people kappa|{at}"] = pair["cohen_kappa"], pair["ci95"]
    for name in ("commonest", "one_person", "ceiling", "truth_longer"):
        found[name] = report["baselines"][name]["rate"], report["baselines"][name]["ci95"]
    board = leaderboard_report_of_columns(
        project="simulated", source="all", columns=project.games, n_orders=0, n_bootstrap=n_bootstrap
    )
    for model in board["models"]:
        for figure, ends in (("bt", "bt_ci95"), ("bt", "bt_bootstrap_ci95"), ("win_rate", "win_rate_ci95"),
                             ("lc_win_rate", "lc_win_rate_ci95")):  # fmt: skip
            if model[figure] is not None:
                found[f"{ends}|{model['name']}"] = model[figure], model[ends]
    for model in win_rates_report(project.games, judge=0, name="j0")["models"]:
        for key in ("human", "judge", "both"):
            if model[key]["rate"] is not None:
                found[f"win rate by {key}|{model['name']}"] = model[key]["rate"], model[key]["ci95"]
    _by_prompt(found, project)
    return found


def _judge(found: Found, judge: dict[str, Any]) -> None:
    of = judge["name"]
    for name in ("accuracy", "accuracy_without_ties", "order_consistency"):
        if judge[name] is not None:
            found[f"{name}|{of}"] = judge[name], judge[f"{name}_ci95"]
    if judge["cohen_kappa"] is not None:
        found[f"kappa|{of}"] = judge["cohen_kappa"], judge["kappa_ci95"]
    found[f"first_slot|{of}"] = judge["first_slot"]["rate"], judge["first_slot"]["ci95"]
    found[f"longer_preferred|{of}"] = judge["longer_preferred"]["rate"], judge["longer_preferred_ci95"]
    own, soft = judge["self_preference"], judge["calibration"]
    if own:
        found["self_preference"] = own["rate"], own["ci95"]
        if own["excess"] is not None:
            found["self_preference excess"] = own["excess"], own["excess_ci95"]
    if soft:
        found[f"brier|{of}"] = soft["brier"], soft["brier_ci95"]
        for one in soft["bins"]:
            found[f"calibration bin|{of} {one['low']:g}"] = one["true"], one["ci95"]


def _by_prompt(found: Found, project: Project) -> None:
    """The figures of an evaluation: a win rate and a mean, over prompts with several games."""
    games = project.games
    mine = games.source == 0
    rate = win_rate_by_prompt(games.score[mine], games.item[mine])
    ends = rate.interval
    if rate.rate is not None:
        found["win rate by prompt"] = rate.rate, None if ends is None else [ends.low, ends.high]
    value = np.exp(games.score[mine]) * (1 + games.length_difference[mine] / 300)
    n = np.bincount(games.item[mine])
    mean = mean_interval(np.bincount(games.item[mine], value), n)
    found["mean by prompt"] = float(value.mean()), None if mean is None else [mean.low, mean.high]


def simulate(
    *, n_items: int, n_verdicts: int, n_projects: int, seed: int = 0, n_bootstrap: int = 200
) -> dict[str, tuple[float, int]]:
    """Give for each interval how often it contains the truth, and in how many trials (judges, models, bins
    together).
    """
    rng = np.random.default_rng(seed)
    truth = {name: value for name, (value, _) in figures(make(_ENOUGH, n_verdicts, rng), n_bootstrap=1).items()}
    held: dict[str, list[bool]] = defaultdict(list)
    for _ in range(n_projects):
        for name, (_, ends) in figures(make(n_items, n_verdicts, rng), n_bootstrap=n_bootstrap).items():
            if ends is not None and name in truth:
                held[name.split("|")[0]].append(ends[0] <= truth[name] <= ends[1])
    return {name: (float(np.mean(one)), len(one)) for name, one in held.items()}
