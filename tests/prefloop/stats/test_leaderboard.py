"""What the board says beyond Bradley–Terry: the bootstrap, ties, length control, and both kinds of labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

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
    """A property: the bootstrap draws comparisons, the sandwich takes games as independent."""
    once = _games(1, per_item=1)
    repeated = [game for game in once for _ in range(4)]
    one, four = _report(once), _report(repeated)
    width = lambda made, key: np.mean([m[key][1] - m[key][0] for m in made["models"]])  # noqa: E731
    assert width(four, "bt_ci95") == pytest.approx(width(one, "bt_ci95") / 2, rel=0.01)
    assert width(four, "bt_bootstrap_ci95") == pytest.approx(width(one, "bt_bootstrap_ci95"), rel=0.01)


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
        assert model["both"]["ci95"] == pytest.approx([float(found.low), float(found.high)])
        width = lambda rate: rate["ci95"][1] - rate["ci95"][0]  # noqa: E731
        assert width(model["both"]) < width(model["human"])
        assert model["more_labels"] > 0
    narrow = win_rates_report(columns, judge=0, name="j", half_width=0.01)
    assert [m["more_labels"] for m in narrow["models"]] == [None] * 3  # all of them by hand would not do
