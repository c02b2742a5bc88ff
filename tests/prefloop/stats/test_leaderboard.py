"""What the board says beyond Bradley–Terry: the bootstrap, ties, length control, and both kinds of labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm, t
from statsmodels.stats.proportion import proportion_confint

from prefloop.stats.board_win_rates import win_rates_report
from prefloop.stats.games import HUMAN, Game, GameColumns, columns_of_games
from prefloop.stats.leaderboard import leaderboard_report, leaderboard_report_of_columns
from prefloop.stats.ppi import ppi_means


def _games(seed, n=400, *, per_item=2):
    rng = np.random.default_rng(seed)
    strength = {"x": 0.8, "y": 0.0, "z": -0.8}
    games = []
    for item in range(n):
        a, b = (str(m) for m in rng.choice(list(strength), 2, replace=False))
        lengths = rng.integers(10, 400, 2).tolist()
        for _ in range(per_item):
            p = 1 / (1 + np.exp(strength[b] - strength[a] - np.tanh((lengths[0] - lengths[1]) / 150)))
            outcome = "tie" if rng.random() < 0.15 else "first" if rng.random() < p else "second"
            games.append(Game(a, b, outcome, "a" if rng.random() < 0.5 else "b", item, *lengths))
    return games


def _report(games, **kwargs):
    made = leaderboard_report(project="p", source="all", games=games, n_orders=20, **{"n_bootstrap": 100} | kwargs)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_every_figure_has_an_interval_that_holds_it():
    made = _report(_games(0))
    assert [m["name"] for m in made["models"]] == ["x", "y", "z"]
    for model in made["models"]:
        for figure in ("win_rate", "bt", "lc_win_rate"):
            assert model[f"{figure}_ci95"][0] < model[figure] < model[f"{figure}_ci95"][1]
        assert model["bt_bootstrap_ci95"][0] < model["bt"] < model["bt_bootstrap_ci95"][1]
    assert made["length_effect"]["bt"] == pytest.approx(1.3, abs=0.5)
    assert made["ties"]["log_nu"] < 0
    # strengths where ties are ties lie further apart than where they are half wins
    assert made["models"][0]["davidson"] > made["models"][0]["bt"] > 0


def test_two_verdicts_on_each_pair_are_worth_less_than_as_many_pairs():
    """A property: repeating every verdict says nothing new, and no interval or error becomes narrower by it."""
    once = _games(1, per_item=1)
    repeated = [game for game in once for _ in range(4)]
    one, four = _report(once), _report(repeated)
    width = lambda made, key: np.mean([m[key][1] - m[key][0] for m in made["models"]])  # noqa: E731
    for figure in ("bt_ci95", "win_rate_ci95", "lc_win_rate_ci95", "bt_bootstrap_ci95"):
        assert width(four, figure) == pytest.approx(width(one, figure), rel=0.01)
    for figure in ("bt_se", "davidson_se"):
        assert [m[figure] for m in four["models"]] == pytest.approx([m[figure] for m in one["models"]])
    for effect, error in (("first_slot_effect", "se"), ("length_effect", "se"), ("ties", "se")):
        assert four[effect][error] == pytest.approx(one[effect][error])


def test_games_without_lengths_or_items_are_still_a_board():
    made = _report([Game("x", "y", o) for o in ("first", "second", "first")] * 4)
    assert made["models"][0]["lc_win_rate"] is None
    assert "lengths" in made["length_effect"]["reason"]
    assert made["ties"]["reason"].startswith("no game was a tie")
    assert made["models"][0]["bt_bootstrap_ci95"] is not None


def test_what_is_slow_can_be_left_out():
    quick = leaderboard_report_of_columns(
        project="p", source="all", columns=columns_of_games(_games(2)), n_orders=0, n_bootstrap=0
    )
    full = _report(_games(2))
    assert quick["elo_orders"] is None
    assert quick["models"][0]["elo"] is None
    assert quick["models"][0]["bt_bootstrap_ci95"] is None
    assert [m["bt"] for m in quick["models"]] == [m["bt"] for m in full["models"]]


def test_columns_keep_what_is_chosen_and_number_its_models_anew():
    columns = columns_of_games([Game("c", "a", "first"), Game("", "b", "tie"), Game("b", "a", None)])
    assert columns.usable.tolist() == [True, False, False]
    kept = columns.where(np.array([True, True, False]))
    assert (kept.models, kept.a.tolist(), kept.b.tolist()) == (("a", "b", "c"), [2, -1], [0, 1])


@pytest.mark.slow
def test_win_rates_with_both_kinds_of_labels_are_those_of_plain_loops():
    rng = np.random.default_rng(3)
    n = 600
    a, b = rng.integers(0, 3, n), rng.integers(0, 3, n)
    b = np.where(a == b, (a + 1) % 3, b)
    rows = []  # item, source, score of a
    for item in range(n):
        truth = float(rng.random() < 0.5 + 0.15 * (b[item] - a[item]))
        rows += [(item, 0, truth if rng.random() < 0.8 else 1.0) for _ in range(2)]
        rows += [(item, 1, 0.5)]  # another judge, of no account
        if rng.random() < 0.3:
            rows += [(item, HUMAN, truth if rng.random() < 0.9 else 0.5) for _ in range(rng.integers(1, 3))]
    item, source, score = (np.array(c) for c in zip(*rows, strict=True))
    columns = GameColumns(
        ("m0", "m1", "m2"), a[item], b[item], score, np.zeros(len(item)), item, np.zeros(len(item)), source
    )
    made = win_rates_report(columns, judge=0, name="j", half_width=0.055)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert (made["judge"], made["n_comparisons"]) == ("j", n)
    for code, model in enumerate(made["models"]):
        y, f, g = [], [], []
        for i in np.flatnonzero((a == code) | (b == code)).tolist():
            turn = (lambda s: s) if a[i] == code else (lambda s: 1 - s)
            people = [turn(s) for j, src, s in rows if j == i and src == HUMAN]
            judge = np.mean([turn(s) for j, src, s in rows if j == i and src == 0])
            if people:
                y.append(np.mean(people))
                f.append(judge)
            else:
                g.append(judge)
        found = ppi_means(y, f, g)
        assert model["human"]["rate"] == pytest.approx(np.mean(y))
        assert model["judge"]["rate"] == pytest.approx(np.mean(f + g))
        assert model["both"]["rate"] == pytest.approx(float(found.estimate))
        rate, df = float(found.estimate), len(y) - 2
        ends = proportion_confint(  # Wilson's by statsmodels, with as many tries as the variance stands for
            rate * (m := rate * (1 - rate) / float(found.se) ** 2),
            m,
            alpha=2 * norm.sf(t.ppf(0.975, df)),
            method="wilson",
        )
        assert model["both"]["ci95"] == pytest.approx(ends)
        width = lambda rate: rate["ci95"][1] - rate["ci95"][0]  # noqa: E731
        assert width(model["both"]) < width(model["human"])
        assert model["more_labels"] > 0
    narrow = win_rates_report(columns, judge=0, name="j", half_width=0.01)
    assert [m["more_labels"] for m in narrow["models"]] == [None] * 3  # all of them by hand would not do


def test_votes_at_one_end_of_the_comparisons_are_named():
    rng = np.random.default_rng(6)
    n = 400
    item, score = np.tile(np.arange(n), 2), rng.integers(0, 2, 2 * n).astype(float)
    source = np.repeat([0, HUMAN], n)

    def said(voted):
        rows = np.concatenate([np.ones(n, dtype=bool), voted])
        return win_rates_report(
            GameColumns(
                ("m0", "m1"), np.zeros(2 * n, int)[rows], np.ones(2 * n, int)[rows], score[rows], np.zeros(rows.sum()),
                item[rows], np.zeros(rows.sum()), source[rows],
            ),
            judge=0,
            name="j",
        )["votes_in_order"]  # fmt: skip

    assert said(np.arange(n) < 60)
    assert not said(rng.random(n) < 0.15)
    assert not said(np.ones(n, dtype=bool))
