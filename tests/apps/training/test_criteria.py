"""Loops by a named criterion, or by a weighting of several: which labels they learn from, and what they refuse."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from apps.labels.models import Judge, Vote
from apps.labels.services import preferences_derive
from apps.policies.store import store_path
from apps.projects.selectors import NoSuchCriterion
from apps.projects.services import criteria_know, guideline_add
from apps.rankings.models import Assignment
from apps.rankings.services import override_create
from apps.samples.models import Comparison
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import loop_obstacle, loop_start
from apps.training.models import Loop, Round, Snapshot
from apps.training.rounds.evaluation import games_of, people_of, people_weights
from apps.training.rounds.evaluators import evaluator_of, labellers_of
from prefloop.config import ConfigError, apply_settings
from prefloop.criteria import Criterion
from prefloop.recipes.catalogue import get_recipe

LABELS = "label.criterion"


@pytest.fixture
def labelled(loop_project, make_comparison, make_vote):
    """Four pairs: the first answer is more helpful, the second more honest, which nobody has said of the last pair."""
    criteria_know(project=loop_project, label_judges={"helpful": "", "honest": ""})
    pairs = []
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")[:4]):
        pair = make_comparison(loop_project, (f"good {number}", f"bad {number}"), prompt=prompt)
        make_vote(pair, "first", rater="ann", criterion="helpful")
        if number < 3:
            make_vote(pair, "second", rater="ann", criterion="honest")
        make_vote(pair, "tie", rater="ann")
        pairs.append(pair)
    preferences_derive(project=loop_project, now=timezone.now())
    return pairs


def begun(project, recipe="dpo", **settings):
    chosen = {"objective.batch": 2} | {key.replace("__", "."): value for key, value in settings.items()}
    return loop_start(project=project, recipe=recipe, settings=chosen, n_rounds=1)


def trained(loop):
    """What the loop's training set says of each pair: its p and source."""
    (snapshot,) = Snapshot.objects.filter(training_runs__round__loop=loop)
    rows = [json.loads(line) for line in store_path(snapshot.path).read_text("utf-8").splitlines()]
    return {int(row["id"].split(":")[1]): (round(row["p_first"], 6), row["source"]) for row in rows}, snapshot


@pytest.mark.slow
def test_a_loop_learns_from_the_labels_by_its_criterion_alone(loop_project, labelled, drive):
    for name, n, p in (("helpful", 4, 1.0), ("honest", 3, 0.0)):
        loop = begun(loop_project, label__criterion=name)
        drive()
        rows, snapshot = trained(loop)
        assert rows == {pair.pk: (p, "human") for pair in labelled[:n]}
        assert snapshot.label_policy["label"]["criterion"] == name
    loop = begun(loop_project)
    drive()
    assert trained(loop)[0] == {pair.pk: (0.5, "human") for pair in labelled}


@pytest.mark.slow
def test_a_weighting_averages_what_has_a_label_by_all_and_counts_the_rest(loop_project, labelled, drive):
    settings = {LABELS: "helpful=3,honest=1", "label.labels": "soft"}
    foreseen = forecast(project=loop_project, recipe=apply_settings(get_recipe("dpo"), settings), n_rounds=1)
    assert (foreseen.rows, foreseen.left_out) == (3, 1)
    loop = begun(loop_project, label__criterion="helpful=3,honest=1")
    drive()
    rows, snapshot = trained(loop)
    assert rows == {pair.pk: (0.75, "human") for pair in labelled[:3]}
    assert snapshot.label_policy["left_out"] == 1


@pytest.mark.slow
def test_a_mean_with_a_judge_s_label_is_the_judge_s_and_knows_what_it_was_before_a_correction(
    loop_project, labelled, drive, bob, make_judge, make_verdict
):
    strict = make_judge(loop_project, "strict", order_policy="random", criterion_name="harmless")
    criteria_know(project=loop_project, label_judges={"harmless": "strict"})
    for pair in labelled[:2]:
        make_verdict(pair, "first", judge=strict, p_first=0.9)
    override_create(comparison=labelled[0], judge=strict, user=bob, now=timezone.now(), choice="second")
    loop = begun(loop_project, label__criterion="helpful,harmless", label__labels="soft")
    drive()
    rows, snapshot = trained(loop)
    assert rows == {labelled[0].pk: (0.5, "override"), labelled[1].pk: (0.95, "judge:strict")}
    item = snapshot.items.get(comparison=labelled[0])
    assert item.p_first_without_overrides == pytest.approx(0.95)
    assert labellers_of(loop_project, apply_settings(get_recipe("dpo"), {LABELS: "helpful,harmless"}), judge=None) == {
        "strict"
    }
    people = begun(loop_project, label__criterion="helpful,honest", label__judge="people")
    drive()
    assert set(trained(people)[0]) == {pair.pk for pair in labelled[:3]}


def test_an_unknown_name_is_refused_in_one_sentence_before_anything_starts(loop_project, labelled):
    recipe = apply_settings(get_recipe("dpo"), {LABELS: "helpful=1,funny=2"})
    said = "project letters-test has no criterion 'funny'; it has helpful, honest"
    assert loop_obstacle(loop_project, recipe).text == said
    with pytest.raises(NoSuchCriterion, match="has no criterion 'funny'"):
        begun(loop_project, label__criterion="funny")
    for wrong in ("helpful=0,honest=1", "helpful=x,honest=1", "helpful=1,helpful=2", "So Helpful", "=1"):
        with pytest.raises(ConfigError, match=r"^label\.criterion can't be used: "):
            apply_settings(get_recipe("dpo"), {LABELS: wrong})
    for recipe_name, more, why in (
        ("dpo", {"label.judge": "strict"}, "label.judge is strict, whose labels are by its own criterion"),
        ("iterative-dpo", {}, "its labels are not stored ones"),
    ):
        with pytest.raises(ConfigError, match=why):
            apply_settings(get_recipe(recipe_name), more | {LABELS: "helpful"})
    assert not Loop.objects.exists()


@pytest.mark.slow
def test_the_page_says_how_many_are_left_out_and_why_a_name_is_refused(loop_project, labelled, erin, client_for):
    client = client_for(erin)
    at = f"/p/{loop_project.slug}/loops/new/dpo/"
    page = client.get(at).content.decode()
    assert 'name="label.criterion"' in page
    body = {"label.criterion": "helpful=1,honest=1", "rounds": "1", "seed": "0"}
    told = client.get(f"{at}forecast/", body).content.decode()
    assert "comparisons that lack a label by one of the criteria" in told
    refused = client.post(at, body | {"label.criterion": "funny"}).content.decode()
    assert "has no criterion &#x27;funny&#x27;" in refused


@pytest.mark.slow
def test_a_reward_model_by_a_criterion_is_a_judge_by_it_with_a_name_of_its_own(loop_project, labelled, drive):
    begun(loop_project, "reward-model", label__criterion="honest")
    drive()
    made = Judge.objects.get(name="reward-model-honest")
    assert (made.criterion_name, made.version) == ("honest", 1)
    begun(loop_project, "reward-model", label__criterion="honest=1,helpful=2")
    drive()
    mixed = Judge.objects.get(name="reward-model-honest-helpful")
    assert (mixed.criterion_name, mixed.version) == ("", 1)
    assert Judge.objects.get(name="reward-model").version == 1, "the one of the unnamed labels is as it was"


def test_nobody_measures_by_another_criterion_unless_named(loop_project, labelled, make_judge):
    Judge.objects.filter(name="reward-model").update(criterion_name="harmless")
    recipe = get_recipe("dpo")
    assert evaluator_of(loop_project, recipe, judge=None).judge is None
    by = apply_settings(recipe, {LABELS: "harmless"})
    assert evaluator_of(loop_project, by, judge=None).name == "reward-model"
    named = apply_settings(recipe, {"evaluation.judge": "reward-model"})
    assert evaluator_of(loop_project, named, judge=None).name == "reward-model"


def test_people_measure_by_what_the_loop_trains_on(labelled):
    ids = [pair.pk for pair in labelled]
    told = {"initial": ids, "people": ids, "answers": None, "truth": {}, "judge": None}
    usual = [game.human for game in games_of(told, "initial")]
    helpful = [game.human for game in games_of(told | {"criteria": {"helpful": 1.0}}, "initial")]
    both = [game.human for game in games_of(told | {"criteria": {"helpful": 0.75, "honest": 0.25}}, "initial")]
    assert (usual, helpful) == ([0.5] * 4, [1.0] * 4)
    assert both == [0.75] * 3 + [None]


@pytest.fixture
def evaluated(loop_project, labelled, drive, fakes):
    """evaluated("helpful"): a loop by this criterion whose first round gave people two pairs."""
    fakes.asks = True

    def make(criterion, **settings):
        begun(loop_project, label__criterion=criterion, evaluation__people=2, **settings)
        drive()
        return Round.objects.get(loop=Loop.objects.latest("pk"), index=1)

    return make


def asks_by(project, *names):
    criteria = [Criterion(name, f"Which answer is more {name}?") for name in names]
    guideline_add(project=project, text="Compare them.", actor=None, criteria=criteria)


def vote_on_all(told, make_vote, **choices):
    """Vote on each pair of an evaluation that people got, by every criterion that it has a seat for."""
    for pair in Comparison.objects.filter(pk__in=told["people"]):
        for name in Assignment.objects.filter(comparison=pair).values_list("criterion", flat=True).distinct():
            make_vote(pair, choices[name or "unnamed"], rater="ann", criterion=name)


@pytest.mark.slow
def test_people_s_votes_in_an_evaluation_count_by_what_they_are_asked_by(loop_project, evaluated, make_vote):
    """What the loop trains on where all of it is asked, else the mean of what is."""
    unnamed = evaluated("helpful")  # people are asked by no named criterion
    vote_on_all(unnamed.evaluation, make_vote, unnamed="tie")
    asks_by(loop_project, "helpful", "honest")
    for criterion, wanted in (
        ("", {"helpful": 0.5, "honest": 0.5}),
        ("honest", {"honest": 1.0}),
        ("helpful=1,honest=3", {"helpful": 0.25, "honest": 0.75}),
    ):
        round_ = evaluated(criterion)
        assert round_.evaluation["criteria"] == wanted
        vote_on_all(round_.evaluation, make_vote, helpful="first", honest="second")
    assert unnamed.evaluation["criteria"] == {"": 1.0}
    for round_ in (unnamed, *Round.objects.filter(index=1)):
        assert people_of(round_.evaluation).n_games == 2


def test_a_loop_judge_s_criterion_is_read_where_it_is_asked_and_the_recipe_s_is_not(loop_project, make_judge):
    strict = make_judge(loop_project, "strict", criterion_name="harmless")
    for asked, judge, weights in (
        (["harmless", "honest"], strict, {"harmless": 1.0}),
        (["helpful", "honest"], strict, {"helpful": 0.5, "honest": 0.5}),
        (["helpful", "honest"], None, {"helpful": 0.5, "honest": 0.5}),
        ([], strict, {"": 1.0}),
    ):
        loop_project.criteria = asked
        assert people_weights(loop_project, wanted={"funny": 1.0}, judge=judge) == weights


def foreseen(project, recipe="dpo", **settings):
    return forecast(project=project, recipe=apply_settings(get_recipe(recipe), settings), n_rounds=1)


@pytest.fixture
def half_judged(loop_project, make_comparison, make_judge, make_verdict, make_vote):
    """Two pairs that people called helpful; of both a judge says how harmless they are, people of the first alone."""
    strict = make_judge(loop_project, "strict", order_policy="random", criterion_name="harmless")
    criteria_know(project=loop_project, label_judges={"helpful": "", "harmless": "strict"})
    pairs = []
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")[:2]):
        pair = make_comparison(loop_project, (f"good {number}", f"bad {number}"), prompt=prompt)
        make_vote(pair, "first", rater="ann", criterion="helpful")
        make_verdict(pair, "first", judge=strict)
        pairs.append(pair)
    make_vote(pairs[0], "second", rater="ann", criterion="harmless")
    preferences_derive(project=loop_project, now=timezone.now())
    return pairs


@pytest.mark.slow
def test_people_alone_are_asked_of_every_criterion_in_the_forecast_and_before_the_start(
    loop_project, half_judged, drive
):
    people = {"label.judge": "people", LABELS: "helpful=3,harmless=1"}
    seen = foreseen(loop_project, **people)
    assert (seen.rows, seen.left_out) == (1, 1)
    loop = begun(loop_project, label__judge="people", label__criterion="helpful=3,harmless=1")
    drive()
    rows, snapshot = trained(loop)
    assert (len(rows), snapshot.label_policy["left_out"]) == (seen.rows, seen.left_out)
    turned = foreseen(loop_project, **people | {LABELS: "harmless=1,helpful=3"})
    assert (turned.rows, turned.left_out) == (1, 1)
    everybody = foreseen(loop_project, **{LABELS: "helpful=3,harmless=1"})
    assert (everybody.rows, everybody.left_out) == (2, 0)

    Vote.objects.filter(criterion="harmless").delete()
    preferences_derive(project=loop_project, now=timezone.now())
    said = (
        "no comparison of the project has a label of people by each of helpful, harmless yet: annotate some pairs or "
        "import labels"
    )
    assert loop_obstacle(loop_project, apply_settings(get_recipe("dpo"), people)).text == said


@pytest.mark.slow
def test_a_tie_by_the_first_criterion_is_no_tie_of_the_weighting(loop_project, make_comparison, make_vote, drive):
    criteria_know(project=loop_project, label_judges={"helpful": "", "honest": ""})
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")[:2]):
        pair = make_comparison(loop_project, (f"good {number}", f"bad {number}"), prompt=prompt)
        make_vote(pair, "tie", rater="ann", criterion="helpful")
        make_vote(pair, "first", rater="ann", criterion="honest")
    preferences_derive(project=loop_project, now=timezone.now())
    assert get_recipe("orpo").objective.declared.hard_labels
    assert foreseen(loop_project, "orpo", **{LABELS: "helpful"}).rows == 0
    seen = foreseen(loop_project, "orpo", **{LABELS: "helpful,honest"})
    loop = begun(loop_project, "orpo", label__criterion="helpful,honest")
    drive()
    assert seen.rows == len(trained(loop)[0]) == 2
