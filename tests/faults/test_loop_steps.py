"""A step of a loop taken by several workers at the same moment is taken once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import OperationalError

from apps.jobs import services
from apps.jobs.clock import database_now
from apps.jobs.drain import drain
from apps.jobs.models import Job, JobState
from apps.labels.models import Judge
from apps.quotas.services import quotas_set
from apps.training import tasks
from apps.training.loops.starting import loop_start
from apps.training.loops.steering import loop_resume
from apps.training.models import Loop, LoopState, Round, Snapshot, Stage, TrainingRun
from apps.training.rounds import ingredients
from apps.training.rounds.advance import loop_advance
from tests.together import together

pytestmark = pytest.mark.faults


@pytest.fixture
def loop_at(site, make_letters_project):
    """loop_at(recipe, stage): a loop whose round 1 stands at that stage."""

    def make(recipe, stage, **settings):
        project = make_letters_project(store=site.directory / "store")
        loop = loop_start(project=project, recipe=recipe, settings=settings, seed=1)
        Job.objects.all().delete()
        Loop.objects.update(state=LoopState.RUNNING)
        Round.objects.filter(loop=loop, index=0).update(stage=Stage.DONE)
        Round.objects.create(loop=loop, index=1, policy=loop.initial, stage=stage)
        return loop

    return make


def test_a_round_s_training_set_is_frozen_once_by_eight_who_come_at_once(loop_at):
    loop = loop_at("dpo", Stage.SNAPSHOT)
    assert together(8, lambda: loop_advance(loop_id=loop.pk, now=database_now())) == []
    loop.refresh_from_db()
    assert (loop.state, loop.error) == (LoopState.RUNNING, "")
    assert Round.objects.get(index=1).stage == Stage.TRAINING
    assert [model.objects.count() for model in (Snapshot, TrainingRun, Job)] == [1, 1, 1]
    assert TrainingRun.objects.get().snapshot == Snapshot.objects.get()


def test_a_round_s_answers_are_asked_for_once_by_eight_who_come_at_once(loop_at):
    loop = loop_at("iterative-dpo", Stage.SAMPLING, **{"prompts.n": "8", "score.judge": "world-preference"})
    assert together(8, lambda: loop_advance(loop_id=loop.pk, now=database_now())) == []
    assert [job.kind for job in Job.objects.all()] == ["sampling.chunk"]


def test_a_loop_without_room_for_its_answers_pauses_and_goes_on_when_there_is_some(loop_at):
    loop = loop_at("iterative-dpo", Stage.SAMPLING, **{"prompts.n": "8", "score.judge": "world-preference"})
    quotas_set(owner=loop.project, limits={"samples": Decimal(63)}, by=None)  # 8 prompts of 8 answers each
    loop_advance(loop_id=loop.pk, now=database_now())
    loop.refresh_from_db()
    assert (loop.state, loop.failure_class, Job.objects.count()) == (LoopState.FAILED, "cap_reached", 0)
    assert "Answers sampled this month: 0 of 63 are used, and this takes 64." in loop.error
    quotas_set(owner=loop.project, limits={"samples": Decimal(64)}, by=None)
    loop_resume(loop=loop, by=None)
    loop_advance(loop_id=loop.pk, now=database_now())
    assert [job.kind for job in Job.objects.exclude(kind="rounds.advance")] == ["sampling.chunk"]


def test_a_reward_model_becomes_a_judge_once_when_two_loops_finish_theirs_together(loop_at, letters_policy_dir):
    loop = loop_at("iterative-dpo", Stage.SAMPLING)
    checkpoint = loop.initial
    type(checkpoint).objects.filter(pk=checkpoint.pk).update(role="reward")
    checkpoint.refresh_from_db()
    assert together(8, lambda: ingredients.reward_model_adopt(loop, checkpoint)) == []
    assert Judge.objects.filter(name="reward-model").count() == 1
    assert Loop.objects.get().judge == Judge.objects.get(name="reward-model")


def test_a_database_that_is_away_for_a_moment_does_not_fail_the_loop(loop_at, monkeypatch):
    loop = loop_at("dpo", Stage.SNAPSHOT)
    job = services.job_enqueue(kind="rounds.advance", queue="cpu", payload={"loop": loop.pk}, max_attempts=2)

    def away(**_):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(tasks, "loop_advance", away)
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    loop.refresh_from_db()
    assert (job.state, loop.state) == (JobState.QUEUED, LoopState.RUNNING)
    Job.objects.update(run_after=None)
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    loop.refresh_from_db()
    assert (job.state, loop.state, loop.failure_class) == (JobState.FAILED, LoopState.FAILED, "internal")
