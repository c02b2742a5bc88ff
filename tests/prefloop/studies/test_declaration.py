"""Declared studies: that their recipes take their settings, in which order they run, and what is refused."""

from __future__ import annotations

import pytest

from prefloop.studies.catalogue import STUDIES, UnknownStudy, get_study
from prefloop.studies.claims import Above
from prefloop.studies.declaration import Arm, Study
from prefloop.tabular.studied import solved

ARMS = (
    Arm(
        name="online",
        title="online",
        recipe="online-ipo",
        sweep={"objective.lr": (1e-4, 3e-4), "objective.tau": (0.1,)},
    ),
    Arm(name="tandem", title="tandem", recipe="tandem-ipo", after="online"),
)


def study(**changes):
    fields = {"name": "s", "title": "t", "question": "q", "finding": "f", "paper": "p", "arms": ARMS}
    return Study(**(fields | {"claims": (Above("online", "tandem"),), "seeds": 2} | changes))


@pytest.mark.parametrize("name", STUDIES)
def test_every_recipe_of_a_study_takes_its_settings(name):
    declared = get_study(name)
    assert declared.name == name
    for planned in declared.planned(1):
        recipe = planned.arm.made(planned.swept)
        assert recipe.name == planned.arm.recipe


def test_all_runs_of_a_seed_come_before_the_next_and_a_replay_after_what_it_replays():
    runs = study().planned(2)
    assert [(run.arm.name, run.seed) for run in runs] == [
        ("online", 0),
        ("online", 0),
        ("tandem", 0),
        ("online", 1),
        ("online", 1),
        ("tandem", 1),
    ]
    assert [run.setting for run in runs[:3]] == [
        "objective.lr 0.0001, objective.tau 0.1",
        "objective.lr 0.0003, objective.tau 0.1",
        "",
    ]


def test_what_is_measured_follows_from_the_claims():
    assert study().measures == {"win"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "No Name"}, "lower-case"),
        ({"arms": (ARMS[0], ARMS[0])}, "one name"),
        ({"claims": (Above("online", "nobody"),)}, "no arm 'nobody'"),
        ({"arms": (ARMS[1], ARMS[0])}, "must come after"),
        ({"claims": ()}, "has claims"),
        ({"seeds": 0}, "has claims and seeds"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        study(**changes)


def test_an_unknown_study_names_those_there_are():
    with pytest.raises(UnknownStudy, match="there are: tabular-control, tabular-bond, gap"):
        get_study("gop")


@pytest.mark.slow
def test_the_exact_gap_is_nothing_with_any_law_of_pairs_and_something_for_another_method():
    """The control must be able to fail: IPO's optimum does depend on where its pairs come from."""
    online = solved("oaif-dpo", {"objective.beta": 1.0}, mu="", seed=3)[-1]["values"]["law"]
    other = solved("dpo", {"objective.beta": 1.0}, mu="other", seed=3)[-1]["values"]["law"]
    assert other == pytest.approx(online, abs=1e-6)
    ipo = [solved("ipo", {"objective.tau": 1.0}, mu=mu, seed=3)[-1]["values"]["law"] for mu in ("reference", "other")]
    assert max(abs(a - b) for a, b in zip(*ipo, strict=True)) > 1e-4
