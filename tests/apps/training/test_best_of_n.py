"""The Best-of-N explorer: its numbers by hand and by trying all choices, and who sees it."""

from __future__ import annotations

import itertools

import pytest

from apps.labels.models import Judge, Score
from apps.samples.models import Completion, SamplingRun
from apps.training.lineage.best_of_n import curve, histogram, pools_of
from prefloop.stats.best_of_n import kl_bound

pytestmark = pytest.mark.django_db
SCORES = [[3.0, 1.0, 1.0, 7.0, 2.0], [0.0, -2.0, 5.0, 4.0, 4.0]]


@pytest.fixture
def run(loop_project):
    """Two prompts with five answers each, scored as SCORES says."""
    prompts = list(loop_project.prompts.filter(split="train").order_by("id")[:2])
    start, judge = loop_project.checkpoints.get(name="start"), Judge.objects.get(name="reward-model")
    made = SamplingRun.objects.create(
        project=loop_project, checkpoint=start, n=5, prompt_ids=[prompt.pk for prompt in prompts]
    )
    for prompt, scores in zip(prompts, SCORES, strict=True):
        for index, value in enumerate(scores):
            row = Completion.objects.create(
                project=loop_project, prompt=prompt, run=made, index=index, text=f"answer worth {value}"
            )
            Score.objects.create(judge=judge, completion=row, value=value)
    return made


def test_the_curve_is_the_mean_over_all_choices(run):
    steps = curve(pools_of(run, Judge.objects.get()))
    assert [step.n for step in steps] == [1, 2, 4, 5]
    for step in steps:
        tried = [[max(few) for few in itertools.combinations(scores, step.n)] for scores in SCORES]
        assert step.mean == pytest.approx(sum(sum(few) / len(few) for few in tried) / 2)
        assert step.low <= step.mean <= step.high
        assert step.gain == pytest.approx(step.mean - steps[0].mean)
        assert step.kl == kl_bound(step.n)
    assert steps[0].mean == pytest.approx(2.5)  # by hand: the mean of all ten
    assert steps[-1].mean == 6.0  # by hand: (7 + 5) / 2
    assert [step.mean for step in steps] == sorted(step.mean for step in steps)


def test_a_prompt_that_is_not_all_scored_is_left_out(run):
    Score.objects.filter(value=-2.0).delete()
    pools = pools_of(run, Judge.objects.get())
    assert [pool.scores for pool in pools] == [[7.0, 3.0, 2.0, 1.0, 1.0]]
    assert curve(pools)[0].low is None  # one prompt has no interval
    assert curve([]) == []


@pytest.mark.parametrize("centred", [True, False])
def test_the_histogram_counts_every_answer(run, centred):
    bins = histogram(pools_of(run, Judge.objects.get()), centred=centred)
    assert sum(dot.value for dot in bins) == 10
    assert bins[0].label.startswith("\u22124.20" if centred else "\u22122.00")


@pytest.mark.slow
def test_a_lead_reads_it_and_nobody_else_learns_anything(
    run, alice, bob, erin, ann, charlie, client_for, other_project
):
    path = f"policies/{run.checkpoint_id}/best-of-n/"
    for person in (alice, erin, bob):
        page = client_for(person).get(f"/p/letters-test/{path}?run=nonsense&judge=99&page=x").content.decode()
        assert "answer worth 7.0" in page
        assert "distance from the prompt" in page
    for person in (ann, charlie):
        assert client_for(person).get(f"/p/letters-test/{path}").status_code == 404
    assert client_for(charlie).get(f"/p/{other_project.slug}/{path}").status_code == 404


def test_without_scores_it_says_what_it_takes(loop_project, bob, client_for):
    start = loop_project.checkpoints.get(name="start")
    page = client_for(bob).get(f"/p/letters-test/policies/{start.pk}/best-of-n/").content.decode()
    assert "No scored answers" in page
