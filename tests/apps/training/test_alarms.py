"""A loop's alarms, from the rows that it stores: each rings on what it is for, and a good loop has none."""

from __future__ import annotations

import pytest
from django.db.models import F

from apps.labels.models import Score
from apps.samples.models import Completion, SamplingRun
from apps.training.lineage.alarms import alarms_of
from apps.training.models import Metric, Round, TrainingRun

pytestmark = pytest.mark.django_db


@pytest.fixture
def loop(start, drive):
    made = start(n_rounds=2)
    drive()
    return made


def _kinds(loop):
    return [one.alarm.kind for one in alarms_of(loop)]


def _result(loop, index, **values):
    row = Round.objects.get(loop=loop, index=index)
    row.result |= values
    row.save(update_fields=["result"])


def _metrics(loop, key, values):
    run = TrainingRun.objects.filter(round__loop=loop).latest("id")
    Metric.objects.filter(run=run).delete()
    Metric.objects.bulk_create(Metric(run=run, step=k + 1, values={key: v}) for k, v in enumerate(values))


@pytest.mark.slow
def test_a_loop_that_learns_has_no_alarm_and_one_that_has_not_begun_neither(loop, start):
    assert _kinds(loop) == []
    assert _kinds(start(n_rounds=1)) == []


@pytest.mark.slow
def test_chosen_log_probs_that_fall_ring_on_the_page(loop, bob, client_for):
    _metrics(loop, "logps/chosen", [-40.0] * 10 + [-50.0] * 10)
    path = f"/p/letters-test/loops/{loop.pk}/"
    page = client_for(bob).get(path).content.decode()
    assert "Log-probs of chosen answers fell from -40.00 to -50.00 nats in the last run." in page
    assert "alarm-chosen" in client_for(bob).get(f"{path}?part=top").content.decode()
    _metrics(loop, "logps/chosen", [-50.0] * 10 + [-40.0] * 10)
    assert "alarm-chosen" not in client_for(bob).get(path).content.decode()


@pytest.mark.slow
def test_kl_and_length_ring_by_the_newest_round(loop):
    _result(loop, 1, kl=30.0, mean_length=500.0)  # an earlier round's are past
    assert _kinds(loop) == []
    _result(loop, 2, kl=12.0, kl_ci95=[11.0, 13.0], mean_length=160.0)
    kl, length = alarms_of(loop)
    assert kl.what == "The newest checkpoint is 12.00 nats from the start, past the budget of 10."
    assert "best-of-50,000" in kl.todo
    assert length.what == "Answers grew from 100 to 160 characters, 1.60 times as long."
    _result(loop, 2, kl=12.0, kl_ci95=[9.0, 15.0], mean_length=120.0)
    assert _kinds(loop) == []


@pytest.mark.slow
def test_the_budget_of_kl_is_a_setting(loop, settings):
    _result(loop, 2, kl=3.0, kl_ci95=[2.5, 3.5])
    assert _kinds(loop) == []
    settings.KL_ALARM_NATS = 2.0
    (kl,) = alarms_of(loop)
    assert kl.what == "The newest checkpoint is 3.00 nats from the start, past the budget of 2."


@pytest.mark.slow
def test_the_bound_of_best_of_n_is_no_kl(loop):
    _result(loop, 2, kl=12.0, best_of_n=[])
    assert _kinds(loop) == []


@pytest.mark.slow
def test_a_judge_that_likes_what_gold_does_not_rings(loop):
    # round r's answers are those of the policy that round r - 1 made: their scores stand beside that one's gold
    runs = list(
        Round.objects.filter(loop=loop, index__gt=0).order_by("index").values_list("sampling_run_id", flat=True)
    )
    _result(loop, 0, gold_mean=5.0, gold_ci95=[4.8, 5.2])
    _result(loop, 1, gold_mean=4.0, gold_ci95=[3.8, 4.2])
    _result(loop, 2, gold_mean=9.0, gold_ci95=[8.8, 9.2])  # nobody has scored its answers yet
    assert _kinds(loop) == []  # the judge's mean did not move
    Score.objects.filter(completion__run=runs[1]).update(value=F("value") + 3)
    (alarm,) = alarms_of(loop)
    assert alarm.what == "The judge’s score rose from 1.00 to 4.00 while gold fell from 5.00 to 4.00.".replace("’", "'")
    _result(loop, 1, gold_mean=4.9, gold_ci95=[4.7, 5.1])
    assert _kinds(loop) == []


@pytest.mark.slow
def test_scores_of_a_step_refreshed_run_stand_beside_gold_before_and_after(loop):
    Score.objects.filter(completion__run__round__loop=loop).delete()
    _result(loop, 1, gold_mean=5.0, gold_ci95=[4.9, 5.1])
    _result(loop, 2, gold_mean=4.0, gold_ci95=[3.9, 4.1])
    _metrics(loop, "objective/scores", [0.0] * 10 + [2.0] * 10)
    assert _kinds(loop) == ["divergence"]
    _metrics(loop, "objective/scores", [2.0] * 10 + [0.0] * 10)
    assert _kinds(loop) == []


@pytest.mark.slow
def test_entropy_rings_by_the_held_out_answers_log_probs(loop):
    ends = {}
    for index in (0, 2):
        _result(loop, index, mean_tokens=10.0)
        checkpoint = Round.objects.get(loop=loop, index=index).output
        run = SamplingRun.objects.create(
            project=loop.project, checkpoint=checkpoint, purpose="evaluation", n=2, temperature=1.0
        )
        prompt = loop.project.prompts.filter(split="eval").first()
        ends[index] = [
            Completion.objects.create(project=loop.project, prompt=prompt, run=run, index=k, logp_sum=-20.0)
            for k in range(2)
        ]
    assert _kinds(loop) == []
    Completion.objects.filter(pk__in=[row.pk for row in ends[2]]).update(logp_sum=-8.0)
    (alarm,) = alarms_of(loop)
    assert alarm.what == "Entropy fell from 2.00 to 0.80 nats: the policy gives nearly the same answers every time."


@pytest.mark.slow
def test_entropy_rings_by_the_steps_of_a_step_refreshed_run(loop):
    _metrics(loop, "objective/entropy", [30.0] * 10 + [10.0] * 10)
    assert _kinds(loop) == ["entropy"]
