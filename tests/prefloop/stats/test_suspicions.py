"""Who is named in a crew, and who is not: single rules on plain votes, and a simulated crew with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._crew_world import GOOD, simulated_crew
from benchmarks.crew import label_accuracy, measure
from prefloop.stats.annotators import CrewColumns
from prefloop.stats.suspicions import crew_with_suspicions

FIRST, SECOND = 0, 1


def crew_of(*, n_items=120, seed=0, **said):
    """Six people who are right on nine of ten items; `said` replaces the outcomes, orders or times of the last one."""
    rng = np.random.default_rng(seed)
    n_people = 6
    item = np.repeat(np.arange(n_items), n_people)
    rater = np.tile(np.arange(n_people), n_items)
    truth = rng.integers(0, 2, n_items)
    outcome = np.where(rng.random(len(item)) < 0.9, truth[item], 1 - truth[item])
    swapped = rng.integers(0, 2, len(item))
    seconds = rng.lognormal(2.0, 0.4, len(item))
    last = rater == n_people - 1
    if "outcome" in said:
        outcome[last] = said["outcome"](truth, swapped[last], outcome.reshape(n_items, n_people), rng)
    if "seconds" in said:
        seconds[last] *= said["seconds"]
    lengths = rng.integers(10, 99, (2, n_items))
    return CrewColumns(
        raters=tuple("abcdef"),
        gold=np.full(n_items, -1),
        length_first=lengths[0],
        length_second=lengths[1],
        item=item,
        rater=rater,
        outcome=outcome,
        swapped=swapped,
        at=np.arange(len(item), dtype=np.float64),
        seconds=seconds,
    )


def named(columns):
    return {(one.person, one.kind) for one in crew_with_suspicions(columns)[1]}


def test_nobody_is_named_in_a_careful_crew():
    assert [named(crew_of(seed=seed)) for seed in range(4)] == [set()] * 4


def test_who_is_fast_and_right_is_no_suspect():
    assert named(crew_of(seconds=0.2)) == set()


def test_who_guesses_is_named_and_fast_if_so():
    guess = {"outcome": lambda truth, swapped, all_, rng: rng.integers(0, 2, len(truth))}
    assert named(crew_of(**guess)) == {("f", "disagrees")}
    assert named(crew_of(**guess, seconds=0.2)) == {("f", "disagrees"), ("f", "fast")}


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_is_named_whichever_it_is(side):
    sided = crew_of(outcome=lambda truth, swapped, all_, rng: (swapped + side) % 2)
    assert ("f", "side") in named(sided)


def test_a_run_of_one_side_is_named_though_the_whole_is_even():
    def run(truth, swapped, all_, rng):
        return np.where(np.arange(len(truth)) < 40, swapped, np.where(rng.random(len(truth)) < 0.9, truth, 1 - truth))

    assert ("f", "run") in named(crew_of(outcome=run, n_items=160))


def test_who_follows_another_into_errors_is_named_and_the_source_is_not():
    found = crew_of(outcome=lambda truth, swapped, all_, rng: all_[:, 0], n_items=300)
    copies = [one for one in crew_with_suspicions(found)[1] if one.kind == "copies"]
    assert [(one.person, one.evidence["other"]) for one in copies] == [("f", "a")]
    evidence = copies[0].evidence
    assert evidence["k"] == evidence["n"] == evidence["later"]
    assert evidence["k_off"] == evidence["n_off"] >= 5


def test_who_gets_worse_is_named_for_drift():
    def worse(truth, swapped, all_, rng):
        right = rng.random(len(truth)) < np.linspace(1.0, 0.45, len(truth))
        return np.where(right, truth, 1 - truth)

    assert ("f", "drift") in named(crew_of(outcome=worse, n_items=200))


def test_a_lean_to_the_longer_answer_is_named():
    columns = crew_of(n_items=200)
    longer = np.where(columns.length_first > columns.length_second, FIRST, SECOND)
    last = columns.rater == 5
    columns.outcome[last] = longer[columns.item[last]]
    assert ("f", "longer") in named(columns)


def test_names_of_the_answers_and_of_the_people_change_nothing():
    crew = simulated_crew(1, n_items=200, votes=10).columns
    turned = CrewColumns(
        crew.raters, crew.gold, crew.length_second, crew.length_first, crew.item, crew.rater,
        1 - crew.outcome, 1 - crew.swapped, crew.at, crew.seconds,
    )  # fmt: skip
    turned.gold[crew.gold >= 0] = 1 - crew.gold[crew.gold >= 0]
    assert named(turned) == named(simulated_crew(1, n_items=200, votes=10).columns)


def test_an_empty_crew_has_no_suspects():
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    assert crew_with_suspicions(CrewColumns((), none, none, none, none, none, none, none, nothing, nothing)) == ([], [])


@pytest.mark.slow
def test_the_careless_of_a_crew_are_named_and_excluding_them_mends_labels():
    found = measure([501, 502, 503])
    careless = [row for kind, row in found["named"].items() if kind not in GOOD]
    careful = [row for kind, row in found["named"].items() if kind in GOOD]
    assert sum(row["named"] for row in careless) >= 0.85 * sum(row["of"] for row in careless)
    assert sum(row["named"] for row in careful) <= 0.04 * sum(row["of"] for row in careful)
    assert found["n_gained"] == 3


def test_labels_are_held_against_the_truth_of_all_items():
    crew = simulated_crew(2, n_items=60, votes=10)
    everybody = set(crew.columns.raters)
    assert 0.6 < label_accuracy(crew, without=set()) <= 1.0
    assert label_accuracy(crew, without=everybody) == 0.0
