"""A loop from start to end, stage by stage: with failures, cancellations and people in between."""

from __future__ import annotations

import hashlib

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.jobs.drain import drain
from apps.jobs.models import FailureClass, Job
from apps.jobs.registry import JobFailure
from apps.labels.models import Judge, Verdict
from apps.labels.services import preferences_derive
from apps.policies.store import store_path
from apps.samples.models import Comparison, Completion
from apps.training.lineage.evidence import frozen_label, tail
from apps.training.lineage.selectors import curves_since, loop_cards, loop_rows
from apps.training.loops.starting import loop_obstacle, loop_start
from apps.training.loops.steering import LoopNotActive, loop_cancel, loop_resume
from apps.training.models import Loop, LoopState, Metric, Round, Snapshot, SnapshotItem, Stage, TrainingRun
from apps.training.rounds.advance import advance_enqueue
from apps.training.rounds.labels import trainable
from apps.training.rounds.loop_judge import LoopRefused
from apps.training.rounds.stations import stations_of
from apps.training.sets.snapshots import HeldOutInTraining, LabelledComparison, NothingToTrainOn, snapshot_export
from apps.training.sets.snapshots import snapshot_create as make_snapshot
from prefloop.config import ConfigError
from prefloop.recipes.catalogue import UnknownRecipe, get_recipe
from prefloop.recipes.runspec import read_spec

pytestmark = pytest.mark.django_db


def state_of(loop):
    loop.refresh_from_db()
    return loop.state


@pytest.mark.slow
def test_two_rounds_of_iterative_dpo_run_to_the_end(start, drive, fakes):
    loop = start()
    drive()
    assert state_of(loop) == LoopState.DONE
    rounds = list(loop.rounds.order_by("index"))
    assert [one.stage for one in rounds] == [Stage.DONE] * 3
    assert [one.output.name for one in rounds] == [
        "start",
        f"iterative-dpo-{loop.pk}-round-1",
        f"iterative-dpo-{loop.pk}-round-2",
    ]
    # a round starts from what the one before made, and samples 4 prompts × 3 answers of it
    assert [one.policy.name for one in rounds[1:]] == ["start", f"iterative-dpo-{loop.pk}-round-1"]
    for one in rounds[1:]:
        assert Completion.objects.filter(run=one.sampling_run).count() == 12
        assert one.sampling_run.checkpoint == one.policy
    rows = loop_rows(loop)
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert [row["n_pairs"] for row in rows] == [0, 4, 4]
    assert [row["win_rate_vs_initial"] for row in rows] == [0.5, pytest.approx(0.6), pytest.approx(0.7)]
    assert fakes.calls.count("evaluation.run") == 3
    assert fakes.calls.count("training.run") == 2


@pytest.mark.slow
def test_the_pairs_of_a_round_are_best_against_worst_with_the_judges_label(start, drive):
    loop = start(n_rounds=1)
    drive()
    pairs = Comparison.objects.filter(origin=f"loop:{loop.pk}:1").select_related("first", "second")
    # the made-up score is the answer's place: the best is the third, the worst the first
    assert {(pair.first.index, pair.second.index) for pair in pairs} == {(0, 2)}
    verdicts = Verdict.objects.filter(comparison__in=pairs)
    assert {verdict.outcome for verdict in verdicts} == {"second"}
    # Bradley–Terry: σ(0 − 2) = 0.1192…
    assert [verdict.p_first for verdict in verdicts] == [pytest.approx(0.11920292, rel=1e-6)] * 4
    items = SnapshotItem.objects.filter(snapshot__training_runs__round__loop=loop)
    assert {item.p_first for item in items} == {0.0}  # the recipe takes hard labels
    assert {item.source for item in items} == {"judge:reward-model"}


@pytest.mark.slow
def test_steps_taken_twice_make_nothing_twice(start, drive):
    loop = start()
    for _ in range(3):
        advance_enqueue(loop)
    drive()
    advance_enqueue(loop)
    drive()
    assert state_of(loop) == LoopState.DONE
    assert loop.rounds.count() == 3
    assert TrainingRun.objects.filter(round__loop=loop).count() == 2
    assert Job.objects.filter(kind="training.run").count() == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sampling.chunk", "scoring.chunk", "training.run", "evaluation.run"])
def test_a_failure_in_any_stage_says_whose_it_was_and_resuming_goes_on(start, drive, fakes, kind):
    loop = start(n_rounds=1)
    fakes.fail[kind] = JobFailure(FailureClass.OUT_OF_MEMORY, "3 GiB asked for, 2 GiB left")
    drive()
    assert state_of(loop) == LoopState.FAILED
    assert (loop.failure_class, loop.error) == ("out_of_memory", "3 GiB asked for, 2 GiB left")
    assert loop.ended_at is not None
    loop_resume(loop=loop, by=None)
    drive()
    assert state_of(loop) == LoopState.DONE
    assert (loop.failure_class, loop.error) == ("", "")
    assert [row["round"] for row in loop_rows(loop)] == [0, 1]
    # what was done before the failure is not done again
    assert Snapshot.objects.count() == 1
    assert Completion.objects.filter(run__purpose="loop").count() == 12


@pytest.mark.slow
def test_a_cancelled_loop_keeps_what_it_made_and_can_be_resumed(start, fakes, drive):
    loop = start(n_rounds=1)
    drain(["gpu", "cpu"], worker_name="test", until=lambda: "sampling.chunk" in fakes.calls)
    loop_cancel(loop=loop, by=None, now=timezone.now())
    assert state_of(loop) == LoopState.CANCELLED
    drive()
    assert state_of(loop) == LoopState.CANCELLED
    assert Completion.objects.filter(run__purpose="loop").count() == 12
    with pytest.raises(LoopNotActive, match="not running"):
        loop_cancel(loop=loop, by=None, now=timezone.now())
    loop_resume(loop=loop, by=None)
    drive()
    assert state_of(loop) == LoopState.DONE
    with pytest.raises(LoopNotActive, match="nothing to resume"):
        loop_resume(loop=loop, by=None)


@pytest.mark.slow
def test_a_missing_reward_model_is_made_first_from_the_projects_labels(
    start, drive, loop_project, make_comparison, make_vote, fakes
):
    Judge.objects.all().delete()
    prompt = loop_project.prompts.filter(split="train").first()
    comparison = make_comparison(loop_project, prompt=prompt)
    make_vote(comparison, "first")
    preferences_derive(project=loop_project, now=timezone.now())
    loop = start(n_rounds=1)
    drive()
    assert state_of(loop) == LoopState.DONE
    assert loop.judge.kind == "reward_model"
    assert [run.kind for run in TrainingRun.objects.order_by("id")] == ["reward-model", "dpo"]
    assert fakes.calls.count("training.run") == 2


@pytest.mark.slow
def test_dpo_learns_once_from_the_labels_that_people_left(start, drive, loop_project, make_comparison, make_vote):
    made = []
    for prompt in loop_project.prompts.all():
        comparison = make_comparison(loop_project, prompt=prompt, held_out=prompt.split == "eval")
        make_vote(comparison, "first")
        made.append(comparison)
    preferences_derive(project=loop_project, now=timezone.now())
    loop = loop_start(project=loop_project, recipe="dpo")
    drive()
    assert state_of(loop) == LoopState.DONE
    items = SnapshotItem.objects.filter(snapshot__training_runs__round__loop=loop)
    assert {item.comparison_id for item in items} == {row.pk for row in made if row.prompt.split == "train"}
    assert {item.source for item in items} == {"human"}


def test_no_held_out_comparison_enters_a_training_set(loop_project, make_comparison):
    train = loop_project.prompts.filter(split="train").first()
    held = make_comparison(loop_project, prompt=train, held_out=True, gold="first")
    evaluation = make_comparison(loop_project, prompt=loop_project.prompts.filter(split="eval").first())
    for comparison in (held, evaluation):
        label = LabelledComparison(comparison_id=comparison.pk, p_first=1.0, source="human")
        with pytest.raises(HeldOutInTraining, match="must not enter a training set"):
            make_snapshot(
                project=loop_project,
                name="x",
                labels=[label],
                start=loop_project.checkpoints.get(name="start"),
                label_policy={},
            )
    assert Snapshot.objects.count() == 0
    loop = Loop(project=loop_project)
    assert not trainable(loop).filter(pk__in=[held.pk, evaluation.pk]).exists()


def test_what_people_said_by_editing_is_counted_as_theirs(loop_project, make_comparison):
    comparison = make_comparison(loop_project, prompt=loop_project.prompts.filter(split="train").first())
    made = make_snapshot(
        project=loop_project,
        name="x",
        labels=[LabelledComparison(comparison_id=comparison.pk, p_first=0.0, source="edit")],
        start=loop_project.checkpoints.get(name="start"),
        label_policy={},
    )
    assert (made.n_human, made.sources) == (1, {"edit": 1})
    assert frozen_label(made.items.get(), comparison).who == "by editing"


def test_the_database_itself_refuses_a_held_out_item(loop_project, make_comparison):
    snapshot = Snapshot.objects.create(project=loop_project, name="x", path="x", sha256="0", n_pairs=1)
    comparison = make_comparison(loop_project)
    with pytest.raises(IntegrityError), transaction.atomic():
        SnapshotItem.objects.create(
            snapshot=snapshot, comparison=comparison, held_out=True, p_first=1.0, source="human"
        )


@pytest.mark.slow
def test_an_exported_training_set_is_the_bytes_that_were_frozen(start, drive):
    loop = start(n_rounds=1)
    drive()
    snapshot = Snapshot.objects.get()
    content = snapshot_export(snapshot)
    assert content == store_path(snapshot.path).read_bytes() == snapshot_export(snapshot)
    assert hashlib.sha256(content).hexdigest() == snapshot.sha256
    assert content.count(b"\n") == snapshot.n_pairs == 4
    store_path(snapshot.path).write_bytes(content + b"\n")
    with pytest.raises(NothingToTrainOn, match="not what was frozen"):
        snapshot_export(snapshot)
    assert loop.rounds.count() == 2


@pytest.mark.parametrize(
    ("recipe", "more", "error", "says"),
    [
        ("dpoo", {}, UnknownRecipe, "no recipe 'dpoo'"),
        ("iterative-dpo", {"settings": {"objective.beta": "-1"}}, ConfigError, "objective.beta must be a number > 0"),
        ("iterative-dpo", {"settings": {"draws.n": "1"}}, ConfigError, "draws.n must be a whole number ≥ 2"),
        ("iterative-dpo", {"settings": {"beta": "1"}}, ConfigError, "no setting 'beta'"),
        ("iterative-dpo", {"n_rounds": 0}, LoopRefused, "rounds must be between 1 and 1000"),
        ("dpo", {"n_rounds": 2}, LoopRefused, "rounds must be 1"),
        ("iterative-dpo", {"start": "nobody"}, Exception, "no policy checkpoint 'nobody'"),
    ],
)
def test_what_can_not_run_is_refused_in_one_line_and_nothing_is_written(loop_project, recipe, more, error, says):
    with pytest.raises(error) as refusal:
        loop_start(project=loop_project, recipe=recipe, **more)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert Loop.objects.count() == Round.objects.count() == Job.objects.count() == 0


def test_what_is_missing_is_said_before_anything_starts(loop_project):
    recipe = get_recipe("iterative-dpo")
    assert loop_obstacle(loop_project, recipe) is None
    loop_project.prompts.filter(split="eval").delete()
    assert "has no held-out prompts" in loop_obstacle(loop_project, recipe).text
    loop_project.prompts.all().delete()
    assert "no training prompts" in loop_obstacle(loop_project, recipe).text
    assert "has a label yet" in loop_obstacle(loop_project, get_recipe("reward-model")).text
    loop_project.checkpoints.update(is_default=False)
    assert "no policy to start from" in loop_obstacle(loop_project, recipe).text


@pytest.mark.slow
def test_the_stations_tell_where_a_round_is_and_how_fast(start, fakes, drive):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    round_ = loop.rounds.get(index=0)
    assert [(one.key, one.state) for one in stations_of(loop, round_, timezone.now())] == [("evaluation", "queued")]
    drain(["gpu", "cpu"], worker_name="test", until=lambda: "sampling.chunk" in fakes.calls)
    round_ = loop.rounds.get(index=1)
    loop.refresh_from_db()
    by_key = {one.key: one for one in stations_of(loop, round_, timezone.now())}
    assert by_key["sampling"].state == "running"
    assert (by_key["sampling"].progress.done, by_key["sampling"].progress.total) == (12, 12)
    assert by_key["training"].state == "next"
    drive()
    loop.refresh_from_db()
    by_key = {one.key: one for one in stations_of(loop, loop.rounds.get(index=1), timezone.now())}
    assert [by_key[key].state for key in ("sampling", "judging", "review", "snapshot")] == [
        "done",
        "done",
        "waiting",
        "next",
    ]
    assert (by_key["sampling"].note, by_key["judging"].note) == ("12 answers", "4 pairs")
    assert (by_key["review"].progress.done, by_key["review"].progress.total) == (0, 4)


@pytest.mark.parametrize(("corrections", "people"), [("none", "skipped"), ("overrides", "inside")])
def test_what_an_on_policy_loop_does_in_each_step_is_said_to_be_in_it(start, corrections, people):
    loop = start("oaif-dpo", n_rounds=1, **{"memory.kind": corrections, "draws.n": "2"})
    Round.objects.create(loop=loop, index=1, policy=loop.rounds.get(index=0).policy, stage=Stage.TRAINING)
    found = {one.key: one for one in stations_of(loop, loop.rounds.get(index=1), timezone.now())}
    assert [found[key].state for key in ("sampling", "judging", "review", "snapshot")] == [
        "inside",
        "inside",
        people,
        "inside",
    ]
    assert found["sampling"].state_word == "in every step"
    assert found["training"].state == "queued"


@pytest.mark.slow
def test_a_round_that_pairs_the_datas_answers_with_its_own_shows_that_nobody_judges(
    start, drive, loop_project, make_comparison, make_vote
):
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")):
        make_vote(make_comparison(loop_project, (f"Thanks {number}!", f"No {number}."), prompt=prompt), choice="first")
    preferences_derive(project=loop_project, now=timezone.now())
    loop = start("spin", n_rounds=1, **{"draws.n": "1"})
    drive()
    assert state_of(loop) == LoopState.DONE, loop.error
    found = stations_of(loop, loop.rounds.get(index=1), timezone.now())
    assert [(one.key, one.word, one.state, one.note) for one in found[:4]] == [
        ("sampling", "Sampling", "done", "4 answers"),
        ("judging", "Pairs", "done", "4 pairs"),
        ("review", "People", "skipped", ""),
        ("snapshot", "Training set", "done", "4 rows"),
    ]
    dots = loop_cards(loop_project, now=timezone.now())[0].strips[0][1]
    assert [word for word, *_ in dots] == ["Sampling", "Pairs", "Training set", "Training", "Evaluation"]


@pytest.mark.slow
def test_curves_come_in_parts_and_all_again_when_a_run_took_rows_back(start, drive):
    loop = start(n_rounds=1)
    drive()
    first = curves_since(loop, "")
    assert first["reset"]
    assert [(point["round"], point["step"]) for point in first["points"]] == [(1, 1), (1, 2)]
    again = curves_since(loop, first["since"])
    assert again["since"] == first["since"]
    assert again["points"] == []
    run = TrainingRun.objects.get(round__loop=loop)
    Metric.objects.create(run=run, step=3, values={"loss": 0.1})
    more = curves_since(loop, first["since"])
    assert (more["reset"], [point["step"] for point in more["points"]]) == (False, [3])
    Metric.objects.filter(run=run, step__gt=1).delete()
    Metric.objects.create(run=run, step=2, values={"loss": 0.2})
    back = curves_since(loop, more["since"])
    assert (back["reset"], [point["step"] for point in back["points"]]) == (True, [1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("token", ["x", "1-2", "--", "1-2-3-4", "-1-2-3", "9" * 40 + "-1-1"])
def test_a_token_that_is_none_gives_everything(start, drive, token):
    loop = start(n_rounds=1)
    drive()
    assert len(curves_since(loop, token)["points"]) == 2


def test_the_tail_of_a_log_is_whole_lines_of_its_end():
    assert tail(b"") == ""
    lines = tail("".join(f"step {n} {'x' * 400}\n" for n in range(100)).encode()).splitlines()
    assert lines[-1].startswith("step 99 ")
    assert all(line.startswith("step ") for line in lines)
    assert len(lines) < 100


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["iterative-dpo", "oaif-dpo"])
def test_how_many_processes_share_a_step_is_a_setting_of_the_product(start, drive, settings, recipe):
    settings.TRAINING_PROCESSES = 3
    loop = start(recipe, n_rounds=1, **{"draws.n": "2"})
    drive()
    run = TrainingRun.objects.get(round__loop=loop)
    assert read_spec(store_path(run.run_dir)).processes == 3
