"""A round trained again without people's overrides, for real: other weights, measured on the same prompts."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.labels.models import Judge, Verdict
from apps.rankings.services import override_create
from apps.samples.models import Comparison
from apps.training.loops.counterfactual import counterfactual_start
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, TrainingRun
from apps.training.sets.runs import events_path
from prefloop.recipes.events import read_events
from workers.foreground import run_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
SMALL = {"draws.max_tokens": "16", "objective.batch": "4", "prompts.n": "8"}


@pytest.fixture
def letters(make_letters_project):
    return make_letters_project(n_train=12, n_eval=4, n_labelled=12)


def run(project, recipe, **settings):
    loop = loop_start(project=project, recipe=recipe, settings=settings, n_rounds=1, seed=7)

    def ended():
        loop.refresh_from_db()
        return loop.state not in ("queued", "running")

    run_until(ended, quiet=True)
    assert (loop.state, loop.error) == ("done", "")
    return loop


def without(loop):
    found = counterfactual_start(round_=loop.rounds.get(index=1), by=None)

    def ended():
        found.refresh_from_db()
        return found.state != "running"

    run_until(ended, quiet=True)
    assert (found.state, found.error) == ("done", "")
    return found


def turn_round(project, judge_name, rows, user):
    judge = Judge.objects.get(project=project, name=judge_name)
    for row in rows:
        said = Verdict.objects.filter(comparison=row, judge=judge, outcome__in=("first", "second")).first()
        choice = "second" if said.outcome == "first" else "first"
        override_create(comparison=row, judge=judge, user=user, now=timezone.now(), choice=choice)


def test_dpo_on_the_judge_s_own_labels_is_what_dpo_without_people_makes(letters, make_user):
    before = run(letters, "dpo", **{"objective.batch": "4", "objective.lr": "1e-3"})
    rows = list(Comparison.objects.filter(held_out=False).order_by("id")[:6])
    turn_round(letters, "world-preference", rows, make_user("lena"))
    after = run(letters, "dpo", **{"objective.batch": "4", "objective.lr": "1e-3"})
    found = without(after)
    assert found.n_changed == 6
    # nothing but the overrides stands between the two: without them it is the first loop's policy, to the last bit
    real, first = (loop.rounds.get(index=1).output.fingerprint for loop in (after, before))
    assert found.run.output.fingerprint == first
    assert real != first
    assert found.result["kl"] == before.rounds.get(index=1).result["kl"]
    assert found.result["win_rate_ci95"] == before.rounds.get(index=1).result["win_rate_ci95"]
    assert not found.run.output.is_default


def test_a_step_refreshed_block_is_run_again_deaf_to_overrides(letters, make_user):
    first = run(letters, "oaif-dpo", **SMALL)
    rows = Comparison.objects.filter(origin__startswith=f"loop:{first.pk}:").order_by("id")
    turn_round(letters, "reward-model", list(rows)[:2], make_user("lena"))
    second = run(letters, "oaif-dpo", **SMALL)
    real = TrainingRun.objects.get(round__loop=second, kind="online")
    log, _ = read_events(events_path(real))
    replayed = {key for event in log if event.type == "overrides" for key, _ in event.data["pairs"]}
    assert real.snapshot.n_overrides == len(replayed) > 0  # a step has room for one, and this run two steps
    found = without(second)
    # the first loop of the same seed heard of no override either
    assert found.run.output.fingerprint == first.rounds.get(index=1).output.fingerprint
    assert found.run.output.fingerprint != real.output.fingerprint
    assert Loop.objects.count() == 2
