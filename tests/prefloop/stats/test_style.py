"""Style control: what is counted, by hand where it can be solved, against statsmodels, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from prefloop.stats.bradley_terry import NotConverged
from prefloop.stats.clusters import Played
from prefloop.stats.games import HUMAN, GameColumns
from prefloop.stats.leaderboard import leaderboard_report_of_columns
from prefloop.stats.style import FEATURES, style_controlled, style_differences, style_of

TEXT = """# A title
Some **bold words** and __more__, 2 * 3 ** 4 is no bold.

- one
- two
  1. inner
#no header
```
# code
- code **code**
```
"""


def test_headers_lists_and_bold_are_counted_outside_of_code():
    assert style_of(TEXT) == (len(TEXT), 1, 3, 2)
    assert style_of("```\n# never closed\n- x") == (22, 0, 0, 0)
    assert style_of("") == (0, 0, 0, 0)
    assert style_differences([[3, 0]], [[1, 0]]).tolist() == [[0.5, 0.0]]


def test_by_hand_and_turning_pairs_changes_nothing():
    # one feature, +1 or -1 of it. With it 8 of 10 won, without it 5 of 10: two shares for two parameters
    score = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 5 + [0.0] * 5)
    feature = np.array([1.0] * 10 + [-1.0] * 10)
    found = []
    for turn in (np.zeros(20, dtype=bool), np.arange(20) % 3 == 0):
        differences = np.zeros((20, 4))
        differences[:, 2] = np.where(turn, -feature, feature)
        played = Played.of(np.arange(20), turn.astype(int), 1 - turn.astype(int), np.where(turn, 1 - score, score))
        found.append(style_controlled(played, differences, n_players=2))
    one, other = found
    level, effect = (logit(0.8) + logit(0.5)) / 2, (logit(0.8) - logit(0.5)) / 2
    assert one.fit.log_strength == pytest.approx([level / 2, -level / 2])
    assert [each.effect for each in one.effects] == [None, None, pytest.approx(effect), None]
    assert one.effects[0].reason == "no answer has any"
    assert other.fit.log_strength == pytest.approx(one.fit.log_strength)
    assert other.effects[2].effect == pytest.approx(one.effects[2].effect)
    assert other.effects[2].se == pytest.approx(one.effects[2].se)
    with pytest.raises(NotConverged, match="the same style"):
        style_controlled(Played.of([0], [0], [1], [1.0]), np.zeros((1, 4)), n_players=2)


def test_it_is_the_robust_logistic_regression_of_statsmodels_and_takes_the_pull_of_style_out():
    rng = np.random.default_rng(0)
    n, strength, pulls = 6000, 0.4, np.array([0.8, 0.0, -0.5, 0.3])
    differences = np.clip(rng.normal([0.4, 0.0, 0.1, 0.2], 0.3, (n, 4)), -1, 1)  # the first writes longer answers
    scale = np.sqrt((differences**2).mean(axis=0))
    score = (rng.random(n) < expit(strength + (differences / scale) @ pulls)).astype(float)
    played = Played.of(np.arange(n), np.zeros(n, dtype=int), np.ones(n, dtype=int), score)
    found = style_controlled(played, differences, n_players=2)
    x = np.column_stack([np.ones(n), differences / scale])
    fit = sm.GLM(score, x, family=sm.families.Binomial()).fit(cov_type="HC0")
    assert found.fit.log_strength[0] * 2 == pytest.approx(fit.params[0], abs=1e-7)
    assert [one.effect for one in found.effects] == pytest.approx(list(fit.params[1:]), abs=1e-6)
    assert [one.se for one in found.effects] == pytest.approx(list(fit.bse[1:]), rel=2e-3)
    for one, pull in zip(found.effects, pulls, strict=True):
        assert one.interval.low < pull < one.interval.high
    raw = logit(score.mean())
    assert abs(found.fit.log_strength[0] * 2 - strength) < 0.15 < raw - strength

    def report(style):
        columns = GameColumns(
            ("long", "short"),
            played.a,
            played.b,
            score,
            np.zeros(n),
            played.item,
            np.zeros(n),
            np.full(n, HUMAN),
            style,
        )
        return leaderboard_report_of_columns(project="p", source="all", columns=columns, n_orders=0, n_bootstrap=0)

    plain, controlled = report(None), report(differences)
    assert plain["style"] is None
    assert {model["style_bt"] for model in plain["models"]} == {None}
    assert [one["name"] for one in controlled["style"]["effects"]] == list(FEATURES)
    first = controlled["models"][0]
    assert (first["name"], first["style_bt"]) == ("long", pytest.approx(found.fit.log_strength[0]))
    assert first["style_bt"] < first["bt"] == plain["models"][0]["bt"]
    assert first["style_bt_ci95"][0] < strength / 2 < first["style_bt_ci95"][1]
