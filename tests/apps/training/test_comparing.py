"""Loops laid over each other, and two checkpoints' answers side by side."""

from __future__ import annotations

import pytest

from apps.samples.models import Completion, SamplingRun
from apps.training.lineage.overlay import MOST_LOOPS, differences, overlay
from apps.training.lineage.side_by_side import sampled_checkpoints, shared_prompts, side_by_side
from apps.training.loops.steering import loop_change
from apps.training.models import Metric

pytestmark = pytest.mark.django_db
COMPARE = "/p/letters-test/loops/compare/"
SIDES = "/p/letters-test/policies/compare/"


@pytest.mark.slow
def test_the_settings_that_differ_are_named_and_no_others(start, drive, erin):
    one = start(n_rounds=1)
    other = start(n_rounds=2, **{"objective.beta": "0.9"})
    rows, n_same = differences([one, other])
    assert {row.key: row.values for row in rows} == {"rounds": (1, 2), "objective.beta": (0.3, 0.9)}
    assert n_same > 20
    loop_change(loop=other, settings={"draws.n": "2"}, by=erin)
    rows, _ = differences([one, other])
    assert {row.key: row.values for row in rows}["draws.n"] == (3, 2)
    assert differences([one, one])[0] == []


@pytest.mark.slow
def test_a_setting_that_one_recipe_lacks_is_none(start):
    rows, _ = differences([start(n_rounds=1), start("rs-ft", n_rounds=1)])
    found = {row.key: row.values for row in rows}
    assert found["recipe"] == ("iterative-dpo", "rs-ft")
    assert found["objective.beta"] == (0.3, None)


@pytest.mark.slow
def test_curves_of_loops_stand_in_one_chart_each(start, drive):
    loops = [start(n_rounds=2), start(n_rounds=1)]
    drive()
    charts = {chart.title: str(chart.wide) for chart in overlay(loops)}
    assert {"Gold score", "Win rate against the start", "Loss", "Reward accuracy"} <= set(charts)
    for loop in loops:
        assert f"iterative-dpo {loop.pk}" in charts["Loss"]
    for chart in overlay(loops):  # on a phone a loop is its number
        assert f"loop {loops[0].pk}<" in str(chart.narrow)
    assert "Score of fresh answers" not in charts  # nobody measured it
    assert overlay([]) == []


@pytest.mark.slow
def test_a_curve_of_one_step_is_seen_as_a_point(start, drive):
    loop = start(n_rounds=1)
    drive()
    Metric.objects.filter(step=2).delete()
    (loss,) = [chart for chart in overlay([loop]) if chart.title == "Loss"]
    assert str(loss.wide).count('class="mark"') == 1


@pytest.mark.slow
def test_the_page_compares_what_the_address_names(start, drive, ann, bob, charlie, client_for):
    loops = [start(n_rounds=1), start(n_rounds=1, **{"objective.beta": "0.9"})]
    drive()
    address = COMPARE + "?" + "&".join(f"loop={loop.pk}" for loop in loops)
    for person in (ann, charlie):
        assert client_for(person).get(address).status_code == 404
    page = client_for(bob).get(address).content.decode()
    assert "objective.beta" in page
    assert page.count(" checked>") == 2
    assert page.count("<svg xmlns") >= 4
    assert client_for(bob).get(f"{COMPARE}?loop=999").status_code == 404
    assert client_for(bob).get(COMPARE).status_code == 200
    listed = client_for(bob).get("/p/letters-test/loops/").content.decode()
    assert f"{COMPARE}?loop={loops[1].pk}&amp;loop={loops[0].pk}" in listed


@pytest.mark.slow
def test_more_loops_than_can_be_told_apart_are_cut_and_it_is_said(start, bob, client_for):
    loops = [start(n_rounds=1) for _ in range(MOST_LOOPS + 1)]
    page = client_for(bob).get(COMPARE + "?" + "&".join(f"loop={loop.pk}" for loop in loops))
    assert len(page.context["chosen"]) == MOST_LOOPS
    assert "hard to tell apart" in page.content.decode()


@pytest.fixture
def answered(loop_project, make_checkpoint):
    """Two policies that answered the held-out prompts in an evaluation, one of them another prompt too."""
    first, second = make_checkpoint(loop_project, "before"), make_checkpoint(loop_project, "after")
    held_out = list(loop_project.prompts.filter(split="eval").order_by("id"))
    train = loop_project.prompts.filter(split="train").first()
    for checkpoint, texts in ((first, ("short", "a long answer")), (second, ("a longer answer", "brief"))):
        run = SamplingRun.objects.create(
            project=loop_project, checkpoint=checkpoint, prompt_ids=[row.pk for row in held_out], n=1,
            purpose="evaluation",
        )  # fmt: skip
        for prompt, text in zip(held_out, texts, strict=True):
            Completion.objects.create(project=loop_project, prompt=prompt, run=run, index=0, text=text)
    other = SamplingRun.objects.create(project=loop_project, checkpoint=second, prompt_ids=[train.pk], n=1)
    Completion.objects.create(project=loop_project, prompt=train, run=other, index=0, text="only one of them")
    return first, second, held_out


def test_only_prompts_that_both_answered_are_shown_each_with_both_answers(answered):
    first, second, held_out = answered
    ids = shared_prompts(first, second)
    assert ids == [row.pk for row in held_out]
    found = side_by_side(first, second, ids)
    assert [([a.text for a in one.first], [a.text for a in one.second]) for one in found] == [
        (["short"], ["a longer answer"]),
        (["a long answer"], ["brief"]),
    ]
    assert [one.longer for one in found] == [10.0, -8.0]
    assert [one.longer for one in side_by_side(first, second, ids, order="shorter")] == [-8.0, 10.0]
    assert list(sampled_checkpoints(first.project_id)) == [second, first]


def test_an_evaluation_s_answers_come_before_others_and_one_run_is_shown_of_each(answered):
    first, second, held_out = answered
    run = SamplingRun.objects.create(project=first.project, checkpoint=first, prompt_ids=[held_out[0].pk], n=1)
    Completion.objects.create(
        project=first.project, prompt=held_out[0], run=run, index=0, text="at another temperature"
    )
    (one,) = side_by_side(first, second, [held_out[0].pk])
    assert [answer.text for answer in one.first] == ["short"]


@pytest.mark.slow
def test_the_page_of_two_checkpoints(answered, loop_project, ann, bob, charlie, client_for):
    first, second, _ = answered
    address = f"{SIDES}?first={first.pk}&second={second.pk}&order=longer"
    for person in (ann, charlie):
        assert client_for(person).get(address).status_code == 404
    Completion.objects.filter(text="brief").update(text="<blink>")
    page = client_for(bob).get(address).content.decode()
    assert "<blink>" not in page
    assert page.index("a longer answer") < page.index("a long answer")
    for text in ("x", "999", str(loop_project.checkpoints.get(name="start").pk)):
        assert client_for(bob).get(f"{SIDES}?first={text}").status_code == 404
    assert "Choose two different" in client_for(bob).get(f"{SIDES}?first={first.pk}&second={first.pk}").content.decode()


def test_answers_stand_beside_each_other_in_the_order_of_reading_and_are_shown_the_same_way(
    answered, loop_project, bob, client_for
):
    first, second, held_out = answered
    for checkpoint, text in ((first, "Dear **Tom**,\nthanks."), (second, "wall " * 1_001)):
        run = SamplingRun.objects.get(checkpoint=checkpoint, purpose="evaluation")
        Completion.objects.create(project=loop_project, prompt=held_out[0], run=run, index=1, text=text)
    page = client_for(bob).get(f"{SIDES}?first={first.pk}&second={second.pk}").content.decode()
    places = [page.index(text) for text in ("<p>short", "a longer answer", "Dear **Tom**,\nthanks.", "wall wall")]
    assert places == sorted(places)
    assert page.count('<pre class="raw">') == 2  # a line of over 5,000 characters is plain, and so is what it is beside
    Completion.objects.filter(text__startswith="wall").update(text="Dear Ann,\nthanks.")
    page = client_for(bob).get(f"{SIDES}?first={first.pk}&second={second.pk}").content.decode()
    assert "Dear <strong>Tom</strong>,<br>" in page
    assert "Dear Ann,<br>" in page


def test_without_two_sampled_checkpoints_the_page_says_what_to_do(loop_project, bob, client_for):
    assert "Nothing to compare yet" in client_for(bob).get(SIDES).content.decode()
