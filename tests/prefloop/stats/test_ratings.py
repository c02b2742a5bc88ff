"""Ratings: worked examples from the literature, properties, and how often the intervals contain the truth."""

from __future__ import annotations

from dataclasses import replace

import krippendorff
import numpy as np
import pytest

from prefloop.stats.agreement import alpha_interval, coincidences, krippendorff_alpha, krippendorff_alphas
from prefloop.stats.ratings import RatingColumns, rated_as_chosen, ratings_report

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units, gaps.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]
# The same, section B: two observers, twelve articles, binary.
TWO = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]


def columns(ratings, *, options, prompts=None, sources=None, missing=None):
    """From rows of people and columns of answers; each answer is a prompt of its own unless `prompts` says else."""
    table = np.array(ratings)
    rater, answer = np.nonzero(table != missing) if missing is not None else np.nonzero(np.ones_like(table))
    prompts = np.arange(table.shape[1]) if prompts is None else np.array(prompts)
    sources = np.zeros(table.shape[1], dtype=np.int64) if sources is None else np.array(sources)
    return RatingColumns(
        value=table[rater, answer].astype(np.float64),
        answer=answer,
        rater=rater,
        prompt=prompts[answer],
        source=sources[answer],
        raters=tuple(f"p{i}" for i in range(len(table))),
        sources=tuple(f"m{i}" for i in range(int(sources.max()) + 1)),
        lowest=float(options[0]),
        highest=float(options[-1]),
        options=options,
    )


@pytest.mark.parametrize(("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_four_observers_is_the_published_one(level, expected):
    report = ratings_report(columns(PUBLISHED, options=(1, 2, 3, 4, 5), missing=0), level=level)
    assert report["alpha"]["value"] == pytest.approx(expected, abs=5e-4)
    assert (report["alpha"]["n"], report["alpha"]["n_answers"]) == (40, 11)
    theirs = krippendorff.alpha(
        reliability_data=np.where(np.array(PUBLISHED) == 0, np.nan, PUBLISHED), level_of_measurement=level
    )
    assert report["alpha"]["value"] == pytest.approx(theirs, abs=1e-12)
    low, high = report["alpha"]["ci95"]
    assert low < expected < high < 1


def test_alpha_of_a_total_is_that_of_the_values_themselves():
    table = columns(PUBLISHED, options=(1, 2, 3, 4, 5), missing=0)
    draws = {"level": "interval", "n_bootstrap": 20_000}
    listed = ratings_report(table, **draws)["alpha"]
    free = ratings_report(replace(table, options=()), **draws)["alpha"]
    assert free["value"] == pytest.approx(listed["value"], abs=1e-12)
    assert free["ci95"] == pytest.approx(listed["ci95"], abs=0.03)
    assert {**free, "value": 0, "ci95": 0} == {**listed, "value": 0, "ci95": 0}
    said = np.array([[0.1, 0.62, 0.77, 0.3], [0.2, 0.6, 0.9, 0.3], [-1, 0.5, 0.85, 0.9]])  # one has not rated the first
    found = ratings_report(replace(columns(said, options=(0, 1), missing=-1), options=()), level="interval")
    theirs = krippendorff.alpha(np.where(said < 0, np.nan, said), level_of_measurement="interval")
    assert found["alpha"]["value"] == pytest.approx(theirs, abs=1e-12)
    same = columns([[5, 5], [5, 5]], options=(1, 2, 3, 4, 5))
    assert ratings_report(replace(same, options=()), level="interval")["alpha"]["value"] is None


def test_alpha_of_two_observers_and_binary_data_is_the_published_one():
    report = ratings_report(columns(TWO, options=(0, 1)), level="nominal")
    assert report["alpha"]["value"] == pytest.approx(0.095, abs=5e-4)


def test_many_tables_at_once_are_each_what_it_is_alone():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 3, size=(20, 4))
    met = coincidences(counts)
    halves = np.stack([met[:10].sum(axis=0), met[10:].sum(axis=0)])
    for level in ("nominal", "ordinal", "interval"):
        both = krippendorff_alphas(halves, level=level)
        assert both == pytest.approx(
            [krippendorff_alpha(counts[:10], level=level), krippendorff_alpha(counts[10:], level=level)]
        )


def test_three_equal_ratings_are_not_a_certainty():
    report = ratings_report(columns([[5, 5, 5]], options=(1, 2, 3, 4, 5)), level="ordinal")
    assert report["mean"] == 5
    low, high = report["ci95"]
    assert (round(low, 2), high) == (2.75, 5.0)
    assert report["alpha"] is None, "no answer was rated twice"
    assert report["people"][0]["lean"] is None
    one = ratings_report(columns([[1], [1]], options=(0, 1)), level="nominal")
    assert (one["mean"], one["ci95"], one["alpha"]["value"], one["alpha"]["ci95"]) == (1.0, None, None, None)
    agree = ratings_report(columns([[1, 3, 5], [1, 3, 5]], options=(1, 2, 3, 4, 5)), level="ordinal")
    assert agree["alpha"]["value"] == 1
    assert agree["alpha"]["ci95"] == pytest.approx([0.4385, 1.0], abs=1e-3)
    low, high = agree["people"][0]["ci95"]
    assert low < -1 < 1 < high, "three prompts without a difference do not say that there is none"


def test_an_answer_counts_once_however_many_rated_it():
    report = ratings_report(
        columns([[5, 1], [5, 0], [5, 0]], options=(1, 2, 3, 4, 5), missing=0, sources=[0, 1]), level="ordinal"
    )
    assert report["mean"] == 3
    assert [(one["name"], one["n"], one["mean"]) for one in report["sources"]] == [("m0", 3, 5.0), ("m1", 1, 1.0)]
    assert report["distribution"] == {"1": 1, "2": 0, "3": 0, "4": 0, "5": 3}


def test_the_lean_is_against_the_others_on_the_same_answers():
    ratings = [[4, 5, 3, 0], [3, 4, 2, 1], [3, 4, 2, 5]]
    report = ratings_report(columns(ratings, options=(1, 2, 3, 4, 5), missing=0), level="ordinal")
    people = {one["name"]: one for one in report["people"]}
    assert people["p0"]["lean"] == 1
    assert people["p0"]["n_shared"] == 3
    assert people["p1"]["lean"] == pytest.approx((-0.5 * 3 - 4) / 4)
    assert people["p2"]["lean"] == pytest.approx((-0.5 * 3 + 4) / 4)


def test_ratings_are_held_against_what_was_chosen():
    difference = np.array([1.0, -0.5, 2.0, 0.0, 1.0])
    found = rated_as_chosen(difference, np.array([1, -1, -1, 1, 0]), np.arange(5))
    assert (found["n"], found["k"], found["n_rated_equal"], found["n_tied"], found["n_pairs"]) == (3, 2, 1, 1, 5)
    assert found["ci95"][0] < 2 / 3 < found["ci95"][1]
    none = rated_as_chosen(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert (none["n"], none["rate"], none["ci95"]) == (0, None, None)


@pytest.mark.parametrize("n_prompts", [6, 25])
def test_the_intervals_contain_the_truth_about_as_often_as_they_say(n_prompts):
    """Two answers a prompt, three people, a skewed scale; the truth comes from a sample of a hundred thousand."""
    rng = np.random.default_rng(3)
    n_projects = 200

    def make(n):
        latent = np.repeat(rng.normal(size=n), 2) + 0.5 * rng.normal(size=2 * n)
        said = latent[None] + rng.normal(size=(3, 2 * n)) + np.array([0.4, 0.0, -0.4])[:, None]
        return np.digitize(said, [-2.5, -1.5, -0.5, 0.3]) + 1, np.repeat(np.arange(n), 2)

    truth_table, _ = make(50_000)
    k = (1, 2, 3, 4, 5)
    counts = np.stack([(truth_table == value).sum(axis=0) for value in k], axis=1)
    truth = {
        "mean": truth_table.mean(),
        "alpha": krippendorff_alpha(counts, level="ordinal"),
        "lean": (truth_table[0] - truth_table[1:].mean(axis=0)).mean(),
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(n_projects):
        table, prompts = make(n_prompts)
        report = ratings_report(columns(table, options=k, prompts=prompts), level="ordinal", n_bootstrap=200)
        lean = next(one for one in report["people"] if one["name"] == "p0")
        for name, ends in (("mean", report["ci95"]), ("alpha", report["alpha"]["ci95"]), ("lean", lean["ci95"])):
            held[name] += ends[0] <= truth[name] <= ends[1]
    assert {name: n >= 0.92 * n_projects for name, n in held.items()} == dict.fromkeys(truth, True), held


def test_alpha_has_no_interval_without_two_prompts():
    met = coincidences([[2, 0], [1, 1]])
    assert alpha_interval(met.sum(axis=0, keepdims=True)) is None
    assert alpha_interval(np.zeros((3, 2, 2))) is None
