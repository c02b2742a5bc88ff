"""What the report says beyond a judge's confusion: two judges, leanings with intervals, self-preference, rounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from prefloop.stats.columns import columns_of, own_models
from prefloop.stats.intervals import distinct
from prefloop.stats.item_sums import ItemSums
from prefloop.stats.judge_report import INCONSISTENT, group_accuracy, rows_by_judge
from prefloop.stats.report import ReportItem, ReportVerdict, ReportVote, agreement_report
from prefloop.types import OUTCOMES


def _project(seed, n=60):
    rng = np.random.default_rng(seed)
    models = ["gpt", "claude", "llama"]
    items, votes, verdicts = [], [], []
    for i in range(n):
        first, second = rng.choice(models, 2, replace=False)
        gold = str(rng.choice(OUTCOMES)) if rng.random() < 0.3 else None
        items.append(
            ReportItem(i, gold, *rng.integers(1, 9, 2).tolist(), first, second, f"round {i % 3}" if i % 4 else "")
        )
        for rater in "abc":
            if rng.random() < 0.6:
                votes.append(ReportVote(i, rater, str(rng.choice([*OUTCOMES, "skip"], p=[0.4, 0.3, 0.1, 0.1, 0.1]))))
        for judge in ("gpt/plain", "other"):
            for order in ("01", "10"):
                for sample in (0, 1):
                    said = str(rng.choice([*OUTCOMES, ""], p=[0.4, 0.3, 0.1, 0.1, 0.1]))
                    state, outcome = ("ok", said) if said else ("unparseable", None)
                    if rng.random() < 0.8:
                        verdicts.append(ReportVerdict(i, judge, order, sample, state, outcome, float(rng.random())))
    return items, votes, verdicts


def _report(items, votes, verdicts, **kwargs):
    return agreement_report(project="p", items=items, votes=votes, verdicts=verdicts, **{"n_bootstrap": 30} | kwargs)


def _truth(items, votes):
    out = {}
    for item in items:
        counts = [sum(v.item == item.id and v.outcome == o for v in votes) for o in OUTCOMES]
        best = max(counts)
        majority = OUTCOMES[counts.index(best)] if best and counts.count(best) == 1 else None
        out[item.id] = item.gold or majority
    return out


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_two_judges_and_self_preference_are_what_plain_loops_give(seed):
    items, votes, verdicts = _project(seed, n=30)
    made = _report(items, votes, verdicts)
    said = {(v.judge, v.item, v.order, v.sample): v.outcome for v in verdicts if v.state == "ok"}
    both = [
        (outcome, said["other", item, order, sample])
        for (judge, item, order, sample), outcome in said.items()
        if judge == "gpt/plain" and ("other", item, order, sample) in said
    ]
    (pair,) = made["judge_pairs"]
    assert (pair["a"], pair["b"], pair["n"]) == ("gpt/plain", "other", len(both))
    assert pair["agreement"] == pytest.approx(np.mean([x == y for x, y in both]))
    x, y = zip(*both, strict=True)
    assert pair["cohen_kappa"] == pytest.approx(cohen_kappa_score(x, y), abs=1e-9)
    decisive = [(p, q) for p, q in both if {p, q} <= {"first", "second"}]
    assert pair["agreement_without_ties"] == pytest.approx(np.mean([p == q for p, q in decisive]))

    gpt, other = made["judges"]
    assert other["self_preference"] is None
    truth = _truth(items, votes)
    own = [
        ((v.outcome == "first") == (i.model_first == "gpt"), truth[v.item], i.model_first == "gpt")
        for v in verdicts
        for i in [items[v.item]]
        if v.judge == "gpt/plain" and v.outcome in ("first", "second") and "gpt" in (i.model_first, i.model_second)
    ]
    found = gpt["self_preference"]
    assert (found["models"], found["n"], found["k"]) == (["gpt"], len(own), sum(chose for chose, _, _ in own))
    known = [(chose, (t == "first") == first) for chose, t, first in own if t in ("first", "second")]
    assert found["n_truth"] == len(known)
    if known:
        assert found["truth_rate"] == pytest.approx(np.mean([d for _, d in known]))
        assert found["excess"] == pytest.approx(np.mean([c for c, _ in known]) - np.mean([d for _, d in known]))


def test_intervals_hold_their_figures_and_the_seed_alone_moves_them():
    rows = _project(1, n=120)
    one, again, other = (_report(*rows, n_bootstrap=200, seed=s) for s in (0, 0, 1))
    assert one == again
    judge = one["judges"][0]
    for figure, ends in (
        (judge["accuracy"], judge["accuracy_ci95"]),
        (judge["accuracy_without_ties"], judge["accuracy_without_ties_ci95"]),
        (judge["order_consistency"], judge["order_consistency_ci95"]),
        (judge["first_slot"]["rate"], judge["first_slot"]["ci95"]),
        (judge["longer_preferred"]["rate"], judge["longer_preferred_ci95"]),
        (judge["self_preference"]["rate"], judge["self_preference"]["ci95"]),
        (judge["self_preference"]["excess"], judge["self_preference"]["excess_ci95"]),
        (judge["calibration"]["brier"], judge["calibration"]["brier_ci95"]),
        (one["baselines"]["ceiling"]["rate"], one["baselines"]["ceiling"]["ci95"]),
        (one["baselines"]["one_person"]["rate"], one["baselines"]["one_person"]["ci95"]),
    ):
        assert ends[0] < figure < ends[1]
    assert _without_intervals(one) == _without_intervals(other)
    assert one["judges"][0]["kappa_ci95"] != other["judges"][0]["kappa_ci95"]


def _without_intervals(value):
    if isinstance(value, dict):
        return {key: _without_intervals(v) for key, v in value.items() if "ci95" not in key}
    return [_without_intervals(v) for v in value] if isinstance(value, list) else value


def test_people_and_baselines_by_hand():
    """Three people on item 0 (two agree), two on item 1 (agree): 4 meetings, 2 of one mind."""
    items = [ReportItem(i, None, 5, 3) for i in range(2)]
    votes = [ReportVote(0, r, o) for r, o in (("a", "first"), ("b", "first"), ("c", "second"))]
    votes += [ReportVote(1, r, "tie") for r in "ab"]
    base = _report(items, votes, [])["baselines"]
    assert (base["ceiling"]["n"], base["ceiling"]["k"], base["ceiling"]["rate"]) == (4, 2, 0.5)
    # against the rest: on item 0 a and b have a level rest, c stands against two; on item 1 both agree
    assert (base["one_person"]["n"], base["one_person"]["k"]) == (3, 2)
    assert (base["chance"], base["n_truth"]) == (0.5, 2)
    assert (base["commonest"]["outcome"], base["commonest"]["rate"]) == ("first", 0.5)
    assert (base["truth_longer"]["n"], base["truth_longer"]["k"]) == (1, 1)


def test_a_judges_label_of_an_item_is_what_all_its_verdicts_say():
    items = [ReportItem(i, "first", 1, 1) for i in range(4)]
    verdicts = [
        ReportVerdict(0, "j", "01", 0, "ok", "tie"),
        ReportVerdict(0, "j", "10", 0, "ok", "tie"),
        ReportVerdict(1, "j", "01", 0, "ok", "first"),
        ReportVerdict(1, "j", "10", 0, "ok", "second"),
        ReportVerdict(2, "j", "01", 0, "ok", "second"),
        ReportVerdict(2, "j", "10", 0, "unparseable", None),
        ReportVerdict(3, "j", "01", 0, "error", None),
    ]
    (rows,) = rows_by_judge(columns_of(items, [], verdicts))
    assert rows.label.tolist() == [2, INCONSISTENT, 1, -1]


def test_rounds_and_slices_split_the_verdicts_and_leave_none_out():
    items, votes, verdicts = _project(2)
    made = _report(items, votes, verdicts)
    for judge in made["judges"]:
        assert [r["name"] for r in judge["by_round"]] == ["round 1", "round 2", "round 0"]  # as they come
        assert sum(r["n"] for r in judge["by_round"]) < judge["n"]  # a quarter are of no round
    columns = columns_of(items, votes, verdicts)
    rows = rows_by_judge(columns)[0]
    truth = np.array([-1 if t is None else OUTCOMES.index(t) for t in _truth(items, votes).values()])
    groups = group_accuracy(rows, truth, np.arange(60) % 2, ["even", "odd"])
    assert sum(g["n"] for g in groups) == made["judges"][0]["n"]
    assert sum(g["k"] for g in groups) == made["judges"][0]["n_correct"]


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from([1, 3, 2**40]))
def test_distinct_rows_are_those_of_numpy(seed, n, d, top):
    rows = np.random.default_rng(seed).integers(0, top, (n, d))
    if top > 3:
        rows[:, 0] %= 2
    first, counts = distinct([rows[:, i] for i in range(d)])
    expected, expected_counts = np.unique(rows, axis=0, return_counts=True)
    assert (rows[first] == expected).all()
    assert (counts == expected_counts).all()
    double, double_counts = distinct([rows[:, i] for i in range(d)], np.full(n, 2))
    assert (rows[double] == expected).all()
    assert (double_counts == 2 * expected_counts).all()


def test_items_alike_and_told_as_counts_have_the_same_interval():
    k, n = np.array([0, 1, 1, 2, 0, 1, 1, 2]), np.full(8, 2)
    plain, counted = ItemSums(8), ItemSums(4, counts=np.full(4, 2))
    for sums, part in ((plain, slice(None)), (counted, slice(4))):
        sums.add_sums("k", k[part])
        sums.add_sums("n", n[part])
    assert plain.share("k", "n") == counted.share("k", "n")
    assert counted.total("n").tolist() == [16]


def test_a_judges_own_models_are_found_by_name():
    models = ["GPT-4", "gpt-4-turbo", "vicuna"]
    assert own_models("gpt-4/Vanilla", models) == (0,)
    assert own_models("house", models, known_as=["Vicuna"]) == (2,)
    assert own_models("house", models) == ()
