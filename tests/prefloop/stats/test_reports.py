from __future__ import annotations

import json
import time
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, precision_recall_fscore_support
from statsmodels.stats.inter_rater import fleiss_kappa

from prefloop.stats.columns import AgreementColumns
from prefloop.stats.report import (
    Game,
    ReportItem,
    ReportVerdict,
    ReportVote,
    agreement_report,
    agreement_report_of_columns,
    leaderboard_report,
)
from prefloop.types import OUTCOMES

AGREEMENT_KEYS = ["project", "n_items", "n_gold", "n_majority", "raters", "human_human", "majority", "judges"]
MORE_KEYS = ["baselines", "judge_pairs", "strength"]
JUDGE_KEYS = [
    *("name", "n", "n_correct", "accuracy", "accuracy_ci95", "accuracy_without_ties", "cohen_kappa", "kappa_ci95"),
    *("macro_precision", "macro_recall", "macro_f1", "confusion", "n_unparseable", "by_order", "n_both_parsed"),
    *("n_both_unparseable", "order_consistency", "order_kappa", "first_slot_rate", "longer_preferred"),
]
MORE_JUDGE_KEYS = [
    *("n_without_ties", "accuracy_without_ties_ci95", "order_consistency_ci95", "first_slot", "longer_preferred_ci95"),
    *("self_preference", "calibration", "alternative_annotator", "n_comparisons", "by_round"),
]


def report(items=(), votes=(), verdicts=(), **kwargs):
    made = agreement_report(project="p", items=list(items), votes=votes, verdicts=verdicts, **kwargs)
    text = json.dumps(made, allow_nan=False)  # refuses NaN, and anything that is not plain JSON
    assert json.loads(text) == made
    return made


def items(*gold, lengths=(5, 5)):
    return [ReportItem(i, g, *lengths) for i, g in enumerate(gold)]


def verdict(item, outcome, order="01", judge="j", sample=0, state="ok"):
    return ReportVerdict(item, judge, order, sample, state, outcome if state == "ok" else None)


def test_an_empty_project_reports_nulls():
    made = report()
    assert list(made) == AGREEMENT_KEYS + MORE_KEYS
    assert made["human_human"] == {
        "pairs": [],
        "fleiss_kappa": None,
        "krippendorff_alpha": None,
        "gwet_ac1": None,
        "n_unanimous": 0,
    }
    assert made["judges"] == []
    assert made["majority"] == {"first": 0, "second": 0, "tie": 0, "both_bad": 0, "none": 0}


def test_a_judge_with_one_verdict_has_an_accuracy_and_no_interval():
    (judge,) = report(items("first"), verdicts=[verdict(0, "first")])["judges"]
    assert list(judge) == JUDGE_KEYS + MORE_JUDGE_KEYS
    assert (judge["n"], judge["n_correct"], judge["accuracy"]) == (1, 1, 1.0)
    assert judge["accuracy_ci95"] is None
    assert judge["cohen_kappa"] is None
    assert judge["kappa_ci95"] is None
    assert judge["by_order"]["10"] == {"n": 0, "n_correct": 0, "accuracy": None, "cohen_kappa": None}
    assert (judge["n_both_parsed"], judge["order_consistency"], judge["order_kappa"]) == (0, None, None)
    assert judge["longer_preferred"] == {"n": 0, "k": 0, "rate": None}


def test_a_judge_that_only_says_tie_has_no_decisive_figures():
    (judge,) = report(items("tie", "tie"), verdicts=[verdict(0, "tie"), verdict(1, "tie")])["judges"]
    assert judge["accuracy"] == 1.0
    assert judge["accuracy_ci95"] == pytest.approx([0.3424, 1.0], abs=1e-4)  # Wilson's of two of two
    assert judge["accuracy_without_ties"] is None
    assert judge["first_slot_rate"] is None
    assert judge["cohen_kappa"] is None


def test_a_judge_of_items_without_truth_is_left_out_of_accuracy_but_its_habits_show():
    rows = [verdict(0, "second", "10"), verdict(0, "first", "01"), verdict(1, None, state="error")]
    made = report(items(None, None, lengths=(9, 5)), verdicts=rows)
    (judge,) = made["judges"]
    assert (judge["n"], judge["accuracy"], judge["first_slot_rate"]) == (0, None, 1.0)
    assert judge["longer_preferred"] == {"n": 2, "k": 1, "rate": 0.5}
    assert (judge["n_both_parsed"], judge["order_consistency"]) == (1, 0.0)
    assert made["raters"] == [{"name": "j", "kind": "judge", "n": 2, "n_unparseable": 0, "n_error": 1}]


def test_unparsed_verdicts_are_counted_and_left_out():
    rows = [
        *(verdict(0, "first", "01"), verdict(0, None, "10", state="unparseable")),
        *(verdict(1, None, "01", state="unparseable"), verdict(1, None, "10", state="unparseable")),
        *(verdict(2, "second", "01"), verdict(2, "second", "10")),
    ]
    (judge,) = report(items("first", "first", "first"), verdicts=rows)["judges"]
    assert (judge["n"], judge["n_correct"], judge["n_unparseable"]) == (3, 1, 3)
    assert (judge["n_both_parsed"], judge["n_both_unparseable"], judge["order_consistency"]) == (1, 1, 1.0)
    assert judge["confusion"]["first"] == {"first": 1, "second": 2, "tie": 0, "both_bad": 0}


def test_truth_is_gold_then_the_strict_majority_and_skips_stand_aside():
    votes = [
        *(ReportVote(0, "ann", "second"), ReportVote(0, "bob", "second")),  # gold says otherwise, and is right
        *(ReportVote(1, "ann", "second"), ReportVote(1, "bob", "skip"), ReportVote(1, "cem", "second")),
        *(ReportVote(2, "ann", "first"), ReportVote(2, "bob", "second")),  # no strict majority
        ReportVote(3, "ann", "skip"),
    ]
    verdicts = [verdict(i, "second") for i in range(5)]
    made = report(items("first", None, None, None, None), votes, verdicts)
    assert made["majority"] == {"first": 0, "second": 2, "tie": 0, "both_bad": 0, "none": 2}
    assert (made["n_items"], made["n_gold"], made["n_majority"]) == (5, 1, 2)
    (judge,) = made["judges"]
    assert (judge["n"], judge["n_correct"]) == (2, 1)
    assert made["human_human"]["n_unanimous"] == 2
    assert {(p["a"], p["b"]): (p["n"], p["agreement"]) for p in made["human_human"]["pairs"]} == {
        ("ann", "bob"): (2, 0.5),
        ("ann", "cem"): (1, 1.0),
    }
    assert [(r["name"], r["kind"], r["n"]) for r in made["raters"]] == [
        *(("ann", "human", 3), ("bob", "human", 2), ("cem", "human", 1), ("j", "judge", 5))
    ]


def test_of_two_votes_by_one_person_the_last_counts():
    votes = [ReportVote(0, "ann", "first"), ReportVote(0, "bob", "second"), ReportVote(0, "ann", "second")]
    made = report(items(None), votes)
    assert made["majority"]["second"] == 1
    assert made["human_human"]["pairs"][0]["agreement"] == 1.0


def test_people_who_all_agree_on_one_outcome_agree_by_ac1_where_kappa_is_undefined():
    votes = [ReportVote(i, r, "tie") for i in range(3) for r in ("ann", "bob")]
    human = report(items(None, None, None), votes)["human_human"]
    assert (human["gwet_ac1"], human["fleiss_kappa"], human["krippendorff_alpha"]) == (1.0, None, None)


def test_accuracy_without_ties_drops_a_tie_on_either_side():
    truth = ("first", "first", "tie", "both_bad", "second")
    said = ("first", "tie", "first", "both_bad", "first")
    (judge,) = report(items(*truth), verdicts=[verdict(i, s) for i, s in enumerate(said)])["judges"]
    assert judge["accuracy"] == pytest.approx(2 / 5)
    assert judge["accuracy_without_ties"] == pytest.approx(1 / 2)


def test_the_seed_decides_the_intervals_and_nothing_else():
    rng = np.random.default_rng(0)
    rows = [verdict(i, OUTCOMES[rng.integers(0, 2)]) for i in range(30)]
    made = [report(items(*["first", "second"] * 15), verdicts=rows, seed=s, n_bootstrap=300) for s in (0, 0, 1)]
    assert made[0] == made[1]
    first, other = made[0]["judges"][0], made[2]["judges"][0]
    assert first["kappa_ci95"] != other["kappa_ci95"]
    assert {k: v for k, v in first.items() if "ci95" not in k} == {k: v for k, v in other.items() if "ci95" not in k}


def test_kinds_of_raters_can_be_named():
    made = report(
        items(None), [ReportVote(0, "ann", "first")], [verdict(0, "first")], raters_kind={"j": "reward_model"}
    )
    assert [r["kind"] for r in made["raters"]] == ["human", "reward_model"]


def random_project(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    made = [
        ReportItem(
            f"i{i}", OUTCOMES[rng.integers(0, 4)] if rng.random() < 0.4 else None, *rng.integers(0, 3, 2).tolist()
        )
        for i in range(n)
    ]
    votes = [
        ReportVote(f"i{i}", f"r{r}", "skip" if rng.random() < 0.1 else OUTCOMES[rng.integers(0, 4)])
        for i in range(n)
        for r in range(4)
        if rng.random() < 0.6
    ]
    verdicts = []
    for i in range(n):
        for order in ("01", "10"):
            for sample in range(2):
                state = str(rng.choice(["ok", "ok", "ok", "unparseable", "error"]))
                if rng.random() < 0.8:
                    verdicts.append(verdict(f"i{i}", OUTCOMES[rng.integers(0, 4)], order, "j", sample, state))
    return made, votes, verdicts


def kappa_or_none(a, b):
    if not a or (len(set(a)) == 1 and set(a) == set(b)):
        return None
    return pytest.approx(cohen_kappa_score(a, b), abs=1e-9)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_the_report_is_what_plain_loops_over_the_rows_give(seed):
    """A second road: dictionaries and loops, with scikit-learn and statsmodels for the figures."""
    rows, votes, verdicts = random_project(seed)
    made = report(rows, votes, verdicts, n_bootstrap=20)
    said = {i.id: {v.rater: v.outcome for v in votes if v.item == i.id and v.outcome != "skip"} for i in rows}
    truth = {}
    for item in rows:
        ranked = Counter(said[item.id].values()).most_common()
        majority = ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else None
        truth[item.id] = item.gold or majority
    human = made["human_human"]
    found = {(p["a"], p["b"]): p for p in human["pairs"]}
    for a, b in combinations(sorted({v.rater for v in votes}), 2):
        both = [(s[a], s[b]) for s in said.values() if a in s and b in s]
        assert ((a, b) in found) == bool(both)
        if both:
            x, y = zip(*both, strict=True)
            assert found[a, b]["agreement"] == pytest.approx(np.mean([p == q for p, q in both]))
            assert found[a, b]["cohen_kappa"] == kappa_or_none(list(x), list(y))
    shared = [list(s.values()) for s in said.values() if len(s) >= 2]
    assert human["n_unanimous"] == sum(len(set(s)) == 1 for s in shared)
    if shared:
        sizes = Counter(map(len, shared))
        modal = max(sizes, key=lambda size: (sizes[size], size))
        table = np.array([[s.count(o) for o in OUTCOMES] for s in shared if len(s) == modal])
        expected = fleiss_kappa(table) if (table.sum(axis=0) > 0).sum() > 1 else None
        assert human["fleiss_kappa"] == (None if expected is None else pytest.approx(expected, abs=1e-9))
    if not verdicts:
        assert made["judges"] == []
        return
    (judge,) = made["judges"]
    pairs = [(truth[v.item], v.outcome, v.order) for v in verdicts if v.state == "ok" and truth[v.item]]
    assert judge["n"] == len(pairs)
    assert judge["n_correct"] == sum(t == o for t, o, _ in pairs)
    assert judge["n_unparseable"] == sum(v.state == "unparseable" and truth[v.item] is not None for v in verdicts)
    if pairs:
        t, o, _ = map(list, zip(*pairs, strict=True))
        assert judge["cohen_kappa"] == kappa_or_none(t, o)
        macro = precision_recall_fscore_support(t, o, average="macro", zero_division=0)[:3]
        assert (judge["macro_precision"], judge["macro_recall"], judge["macro_f1"]) == pytest.approx(macro)
    for order in ("01", "10"):
        part = [(t, o) for t, o, shown in pairs if shown == order]
        assert judge["by_order"][order]["n"] == len(part)
        assert judge["by_order"][order]["n_correct"] == sum(t == o for t, o in part)
    call = {(v.item, v.sample, v.order): v for v in verdicts}
    twice = [(v, call[i, s, "10"]) for (i, s, order), v in call.items() if order == "01" and (i, s, "10") in call]
    parsed = [(v.outcome, w.outcome) for v, w in twice if v.state == w.state == "ok"]
    assert judge["n_both_parsed"] == len(parsed)
    assert judge["n_both_unparseable"] == sum(v.state == w.state == "unparseable" for v, w in twice)
    assert judge["order_consistency"] == (pytest.approx(np.mean([p == q for p, q in parsed])) if parsed else None)
    assert judge["order_kappa"] == kappa_or_none([p for p, _ in parsed], [q for _, q in parsed])
    decisive = [v for v in verdicts if v.outcome in ("first", "second")]
    first = [(v.outcome == "first") == (v.order == "01") for v in decisive]
    assert judge["first_slot_rate"] == (pytest.approx(np.mean(first)) if first else None)
    length = {i.id: (i.length_first, i.length_second) for i in rows}
    longer = [
        (v.outcome == "first") == (length[v.item][0] > length[v.item][1])
        for v in decisive
        if length[v.item][0] != length[v.item][1]
    ]
    assert (judge["longer_preferred"]["n"], judge["longer_preferred"]["k"]) == (len(longer), sum(longer))


@pytest.mark.slow
def test_a_million_verdicts_are_reported_with_a_thousand_bootstraps_in_seconds():
    rng = np.random.default_rng(0)
    n = 500_000
    item = np.repeat(np.arange(n), 2)
    nothing = np.zeros(0, dtype=np.int64)
    columns = AgreementColumns(
        gold=rng.integers(0, 2, n),
        length_first=rng.integers(0, 99, n),
        length_second=rng.integers(0, 99, n),
        raters=(),
        vote_item=nothing,
        vote_rater=nothing,
        vote_outcome=nothing,
        judges=("j",),
        verdict_item=item,
        verdict_judge=np.zeros(2 * n, dtype=np.int64),
        verdict_swapped=np.tile([False, True], n),
        verdict_sample=np.zeros(2 * n, dtype=np.int64),
        verdict_outcome=rng.integers(0, 2, 2 * n),
    )
    start = time.perf_counter()
    (judge,) = agreement_report_of_columns(project="big", columns=columns)["judges"]
    assert time.perf_counter() - start < 20
    low, high = judge["accuracy_ci95"]
    assert low < judge["accuracy"] < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(2 * n), rel=0.15)


def board(*games, **kwargs):
    made = leaderboard_report(project="p", source="human", games=games, n_orders=50, **kwargs)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_a_leaderboard_by_hand():
    made = board(
        *[Game("x", "y", "first", "a")] * 3,
        *[Game("y", "x", "first", "b")] * 1,
        *[Game("x", "y", "tie", "b"), Game("y", "x", "both_bad", "a")],
        *[Game("x", "x", "first"), Game("x", "y", None), Game("", "y", "first")],
        n_dropped=4,
    )
    x, y = made["models"]
    assert (x["name"], x["n"], x["win_rate"]) == ("x", 6, pytest.approx(4 / 6))
    assert x["bt"] == pytest.approx(np.log(2) / 2)  # four wins to two
    assert y["bt"] == pytest.approx(-x["bt"])
    assert x["bt_ci95"][0] < x["bt"] < x["bt_ci95"][1]
    assert x["elo"] > 1000 > y["elo"]
    assert made["pairs"] == [{"a": "x", "b": "y", "wins": 3, "ties": 2, "losses": 1}]
    assert (made["n_used"], made["n_dropped"], made["elo_orders"]) == (6, 7, 50)
    assert made["first_slot_effect"]["bt"] is not None


def test_a_model_that_always_won_has_no_strength_and_the_reason_is_given():
    made = board(Game("x", "y", "first"), Game("x", "z", "first"), Game("y", "z", "tie"))
    assert [m["bt"] for m in made["models"]] == [None] * 3
    assert made["models"][0]["name"] == "x"
    assert made["models"][0]["bt_se"] is made["models"][0]["bt_ci95"] is None
    assert "not strongly connected" in made["reason"]
    assert made["first_slot_effect"]["bt"] is None


def test_all_ties_make_everyone_equal():
    made = board(Game("x", "y", "tie", "a"), Game("x", "y", "both_bad", "b"))
    assert [m["bt"] for m in made["models"]] == pytest.approx([0, 0])
    assert [m["win_rate"] for m in made["models"]] == [0.5, 0.5]
    assert made["first_slot_effect"]["bt"] == pytest.approx(0)


def test_an_empty_leaderboard_has_no_models_and_says_why():
    made = board()
    assert (made["models"], made["pairs"], made["n_used"]) == ([], [], 0)
    assert made["reason"] == "fewer than two models"
    assert made["first_slot_effect"] == {"bt": None, "se": None, "reason": "strengths are undefined"}


def test_a_judge_that_leans_to_the_first_slot_is_found_out():
    rng = np.random.default_rng(4)
    games = []
    for _ in range(4000):
        shown = "a" if rng.random() < 0.5 else "b"
        p = 1 / (1 + np.exp(-(0.3 + (0.8 if shown == "a" else -0.8))))
        games.append(Game("x", "y", "first" if rng.random() < p else "second", shown))
    effect = board(*games)["first_slot_effect"]
    assert abs(effect["bt"] - 0.8) < 3 * effect["se"] < 0.15
