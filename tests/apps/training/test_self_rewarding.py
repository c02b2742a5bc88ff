"""The self-rewarding loop without torch: its start is made first, its prompts are written, its judge is its policy."""

from __future__ import annotations

import pytest

from apps.jobs import registry
from apps.jobs.drain import drain
from apps.jobs.errors import JobFailure
from apps.jobs.models import FailureClass
from apps.judging.services import BadJudge, judge_create, judge_queue
from apps.labels.models import Judge, Score, Verdict
from apps.policies.models import Endpoint
from apps.policies.store import store_path
from apps.prompts.models import Prompt
from apps.prompts.selectors import given_prompts
from apps.samples.models import Comparison
from apps.training.lineage.cards import loop_command
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import loop_start
from apps.training.loops.steering import loop_change, loop_resume
from apps.training.models import LoopState, Round, SnapshotItem, Stage, TrainingRun
from apps.training.rounds.labels import own_judges
from apps.training.rounds.loop_judge import LoopRefused
from apps.training.rounds.self_rewarding import (
    START_JOB,
    WRITING_JOB,
    prompts_written,
    start_run_create,
    stored_demonstrations,
    written_before,
)
from apps.training.rounds.stations import stations_of
from apps.training.sets.snapshots import NothingToTrainOn
from prefloop.config import apply_settings
from prefloop.judging.demonstrations import JudgeDemonstration
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.self_instruct import Instructed
from prefloop.recipes.snapshots import read_rows

pytestmark = pytest.mark.django_db

JUDGED = [
    JudgeDemonstration(id=f"d{score}", prompt=f"Score letter {score}.", text=f"Reasons.\nScore: {score}", score=score)
    for score in range(6)
]
TAUGHT = {"teach.eft": "6", "teach.ift": "0", "teach.writing": "0"}


@pytest.fixture
def world(loop_project):
    loop_project.world = "letters"
    loop_project.save(update_fields=["world"])
    return loop_project


@pytest.fixture
def own_workers(fakes):
    """The two jobs that only this loop has: their services are the real ones, their rows and prompts made up."""

    def rows(ctx):
        fakes.calls.append(START_JOB)
        round_ = Round.objects.select_related("loop__project", "loop__initial").get(pk=ctx.payload["round"])
        start_run_create(round_.loop, round_, JUDGED)

    def writing(ctx):
        fakes.calls.append(WRITING_JOB)
        if WRITING_JOB in fakes.fail:
            raise fakes.fail.pop(WRITING_JOB)
        round_ = Round.objects.select_related("loop__project", "loop__initial").get(pk=ctx.payload["round"])
        texts = tuple(f"Thank Omar for gift {round_.index}{number}." for number in range(4))
        prompts_written(round_, Instructed(texts, {"alike": 2}), n_candidates=6, writer=round_.loop.initial)

    fakes.handlers[START_JOB] = registry.Handler(START_JOB, "cpu", rows)
    fakes.handlers[WRITING_JOB] = registry.Handler(WRITING_JOB, "gpu", writing)
    return fakes


@pytest.fixture
def run(start, drive, world, own_workers):
    def make(taught=TAUGHT, **settings):
        loop = start("self-rewarding", **(taught | settings))
        drive()
        loop.refresh_from_db()
        return loop

    return make


@pytest.mark.slow
def test_two_rounds_go_from_a_taught_start_to_m3(run, own_workers):
    loop = run()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    rounds = list(loop.rounds.order_by("index"))
    m1, m2, m3 = (one.output for one in rounds)
    assert m1.parent.name == "start"
    assert [one.parent for one in (m2, m3)] == [m1, m2]
    assert loop.initial == m1 == rounds[0].policy
    assert own_workers.calls.count(START_JOB) == 1
    assert own_workers.calls.count(WRITING_JOB) == 2
    # each round pulls to, and is judged by, the policy that it starts from
    runs = TrainingRun.objects.filter(round__loop=loop, round__index__gt=0).order_by("id")
    assert [(one.start, one.reference, one.kind) for one in runs] == [(m1, m1, "dpo"), (m2, m2, "dpo")]
    judges = Judge.objects.filter(project=loop.project, kind="policy").order_by("version")
    assert [(one.name, one.version, one.checkpoint) for one in judges] == [
        (f"self-rewarding-{loop.pk}", 1, m1),
        (f"self-rewarding-{loop.pk}", 2, m2),
    ]
    assert loop.judge == judges[1]
    for judge, one in zip(judges, rounds[1:], strict=True):
        assert Score.objects.filter(judge=judge).count() == one.sampling_run.completions.count() == 4 * 3
        assert Verdict.objects.filter(judge=judge).count() == 4  # best against worst of each prompt
        assert set(Verdict.objects.filter(judge=judge).values_list("p_first", flat=True)) == {None}
        items = SnapshotItem.objects.filter(snapshot__training_runs__round=one)
        assert {item.source for item in items} == {f"judge:{judge.name}"}
        assert {item.p_first for item in items} == {0.0}  # the second, whose score is higher, for certain
        assert {pk for item in items for pk in item.label_ids} == {
            f"verdict:{pk}" for pk in judge.verdicts.values_list("pk", flat=True)
        }


@pytest.mark.slow
def test_the_start_learns_from_rows_of_three_kinds_and_is_taken_again(
    run, world, make_comparison, make_vote, make_prompt
):
    from django.utils import timezone

    from apps.labels.services import preferences_derive

    for number in range(3):
        prompt = Prompt.objects.get(external_id=f"t{number}")
        make_vote(make_comparison(world, (f"good {number}", f"bad {number}"), prompt=prompt))
    for number in range(4):  # nine in all: eight to show and one to write
        make_prompt(world, f"Invite Maria to party {number}.", split="train")
    preferences_derive(project=world, now=timezone.now())
    settings = {"teach.ift": "2", "teach.writing": "5", "teach.lr": "0.003"}
    loop = run(**settings)
    made = TrainingRun.objects.get(round__loop=loop, kind="sft")
    rows = read_rows(store_path(made.snapshot.path), "demonstrations", sha256=made.snapshot.sha256)
    assert [row.source.split(":")[0] for row in rows] == ["human"] * 2 + ["eft"] * 6 + ["prompt-writing"] * 5
    assert made.snapshot.sources == {"ift": 2, "eft": 6, "prompt-writing": 5}
    assert made.spec["objective"]["lr"] == 0.003
    items = SnapshotItem.objects.filter(snapshot=made.snapshot)  # and M1 is traced to the labels behind its answers
    assert {f"comparison:{item.comparison_id}" for item in items} == {row.id for row in rows[:2]}
    assert {item.source for item in items} == {"human"}
    assert made.snapshot.n_human == 2
    held_out = set(world.prompts.filter(split="eval").values_list("text", flat=True))
    assert held_out
    assert not any(text in str(row.prompt) + row.completion for row in rows for text in held_out)
    again = run(**settings)
    assert (again.state, again.initial) == (LoopState.DONE, loop.initial)
    assert not TrainingRun.objects.filter(round__loop=again, round__index=0).exists()
    other = run(**(settings | {"teach.lr": "0.002"}))
    assert other.initial != loop.initial


@pytest.mark.slow
def test_a_taught_start_and_a_start_that_is_taken_as_it_is_are_not_taught(run, world, start, drive):
    first = run()
    loop = loop_start(project=world, recipe="self-rewarding", settings=TAUGHT, start=first.initial.name)
    drive()
    loop.refresh_from_db()
    assert loop.initial == first.initial
    assert not TrainingRun.objects.filter(round__loop=loop, round__index=0).exists()
    assert f"--start {first.initial.name}" in loop_command(loop)
    assert "--start start" in loop_command(first)  # it taught it itself, and does so again
    m2 = first.rounds.get(index=1)  # a branch goes on from what can judge already
    branch = loop_start(project=world, recipe="self-rewarding", settings=TAUGHT, start=m2.output.name, branched_from=m2)
    drive()
    branch.refresh_from_db()
    assert (branch.state, branch.initial) == (LoopState.DONE, m2.output)
    assert not TrainingRun.objects.filter(round__loop=branch, round__index=0).exists()
    plain = run({"teach.eft": "0"})
    assert (plain.state, plain.initial.name) == (LoopState.DONE, "start")


@pytest.mark.slow
def test_a_change_asks_the_policy_otherwise_from_the_next_round_on_and_what_taught_the_start_stays(
    start, drive, world, own_workers, erin
):
    loop = start("self-rewarding", **TAUGHT)
    drain(["gpu", "cpu"], worker_name="test", until=lambda: loop.rounds.filter(index=1).exists())
    with pytest.raises(LoopRefused, match=r"teach\.lr can't change"):
        loop_change(loop=loop, settings={"teach.lr": "0.002"}, by=erin)
    loop_change(loop=loop, settings={"score.samples": "5"}, by=erin)
    drive()
    loop.refresh_from_db()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    assert [judge.options["samples"] for judge in own_judges(loop)] == [3, 5]
    assert [judge.checkpoint for judge in own_judges(loop)] == [
        one.policy for one in loop.rounds.filter(index__gt=0).order_by("index")
    ]


@pytest.mark.slow
def test_written_prompts_are_kept_with_their_origin_and_are_no_other_loops_prompts(run, start, drive, world):
    loop = run()
    first, second = loop.rounds.filter(index__gt=0).order_by("index")
    assert first.sampling_run.prompt_ids == first.written["prompt_ids"]
    assert first.written["n_refused"] == {"alike": 2}
    assert [prompt.text for prompt in written_before(second)] == [f"Thank Omar for gift 1{n}." for n in range(4)]
    rows = Prompt.objects.filter(pk__in=first.written["prompt_ids"])
    assert {row.prompt_set.name for row in rows} == {"self-instruct"}
    assert {row.split for row in rows} == {"train"}
    assert rows[0].metadata == {
        "origin": "self-instruct",
        "writer": loop.initial.name,
        "loop": loop.pk,
        "round": 1,
    }
    assert given_prompts(world, split="train").count() == 6
    again = run()  # with the same seed it writes the same: they stand once
    assert again.rounds.get(index=1).written["prompt_ids"] == first.written["prompt_ids"]
    other = start("iterative-dpo", **{"prompts.n": "0"})
    drive()
    asked = other.rounds.get(index=1).sampling_run.prompt_ids
    assert sorted(asked) == sorted(given_prompts(world, split="train").values_list("id", flat=True))


@pytest.mark.slow
def test_a_writer_that_writes_nothing_new_ends_the_loop_with_a_line_that_says_what_to_do(run, own_workers, world):
    def nothing(ctx):
        round_ = Round.objects.select_related("loop__project", "loop__initial").get(pk=ctx.payload["round"])
        try:
            prompts_written(round_, Instructed((), {"alike": 9}), n_candidates=9, writer=round_.loop.initial)
        except NothingToTrainOn as error:
            raise JobFailure(FailureClass.DATA, str(error)) from error

    own_workers.handlers[WRITING_JOB] = registry.Handler(WRITING_JOB, "gpu", nothing)
    loop = run()
    assert loop.state == LoopState.FAILED
    assert "wrote no new prompt in 9 attempts (9 alike): raise prompts.most_alike" in loop.error
    assert not Prompt.objects.filter(prompt_set__name="self-instruct").exists()


@pytest.mark.slow
def test_a_loop_that_failed_while_writing_goes_on_from_there(run, own_workers, drive, erin):
    own_workers.fail[WRITING_JOB] = JobFailure(FailureClass.INTERNAL, "the disk is full", retry=False)
    loop = run()
    assert (loop.state, loop.error) == (LoopState.FAILED, "the disk is full")
    assert loop.rounds.get(index=1).stage == Stage.PREPARE
    loop_resume(loop=loop, by=erin)
    drive()
    loop.refresh_from_db()
    assert loop.state == LoopState.DONE
    assert own_workers.calls.count(START_JOB) == 1


def test_what_is_missing_is_said_before_anything_is_written(loop_project, world):
    def refused(**settings):
        with pytest.raises(LoopRefused) as said:
            loop_start(project=loop_project, recipe="self-rewarding", settings=settings)
        return str(said.value)

    assert "no comparison of the project has a label yet" in refused()  # to take chosen answers from
    loop_project.world = ""
    loop_project.save(update_fields=["world"])
    assert "or set teach.eft=0" in refused(**{"teach.ift": "0"})
    with pytest.raises(Exception, match="no policy checkpoint 'lost'"):
        loop_start(
            project=loop_project,
            recipe="self-rewarding",
            settings={"teach.eft": "0", "prompts.writer": "checkpoint:lost"},
        )


@pytest.mark.slow
def test_without_a_world_the_start_learns_from_what_additive_judges_wrote_about_labelled_pairs(
    loop_project, make_comparison, make_vote
):
    from django.utils import timezone

    from apps.labels.services import preferences_derive

    judge = judge_create(
        project=loop_project,
        name="grader",
        kind="llm",
        mode="additive",
        criterion="Kind.",
        endpoint=Endpoint.objects.create(project=loop_project, name="e", base_url="http://127.0.0.1:9/v1", model="m"),
    )
    rows = []
    for number, (first, second, choice) in enumerate(
        [(4, 2, "first"), (1, 3, "first"), (2, 2, "tie"), (5, 0, "first")]
    ):
        split = "eval" if number == 3 else "train"
        prompt = Prompt.objects.filter(project=loop_project, split=split).order_by("id")[number % 2]
        row = make_comparison(loop_project, (f"one {number}", f"other {number}"), prompt=prompt, held_out=number == 3)
        make_vote(row, choice)
        for completion, value in ((row.first, first), (row.second, second)):
            for sample, state in enumerate(("unparseable", "ok")):
                Score.objects.create(
                    judge=judge,
                    completion=completion,
                    sample=sample,
                    state=state,
                    value=value if state == "ok" else None,
                    raw=f"It says.\nScore: {value}" if state == "ok" else "Hm.",
                )
        rows.append(row)
    preferences_derive(project=loop_project, now=timezone.now())
    found = stored_demonstrations(loop_project, lambda prompt, answer: f"{prompt}|{answer}", 100, seed=0)
    # the second pair's scores contradict its label, and the last is held out
    assert [(row.prompt.split("|")[1], row.score, row.text) for row in found] == [
        ("one 0", 4, "It says.\nScore: 4"),
        ("other 0", 2, "It says.\nScore: 2"),
        ("one 2", 2, "It says.\nScore: 2"),
        ("other 2", 2, "It says.\nScore: 2"),
    ]
    loop = loop_start(project=loop_project, recipe="self-rewarding", settings=TAUGHT)
    with pytest.raises(NothingToTrainOn, match="no judge demonstration agrees"):
        start_run_create(loop, loop.rounds.get(), [])


@pytest.mark.slow
def test_memory_takes_each_rounds_labels_from_the_judge_of_that_round(run):
    loop = run(**{"memory.kind": "rounds"})
    assert loop.state == LoopState.DONE
    second = loop.rounds.get(index=2)
    items = SnapshotItem.objects.filter(snapshot__training_runs__round=second)
    assert items.count() == 4 + 4
    said = {pk for item in items for pk in item.label_ids}
    assert {Verdict.objects.get(pk=int(one.split(":")[1])).judge.version for one in said} == {1, 2}
    assert [judge.version for judge in own_judges(loop)] == [1, 2]


@pytest.mark.slow
def test_the_diagram_shows_the_start_and_the_prompts_as_stations(run, start, world):
    from django.utils import timezone

    loop = start("self-rewarding", **TAUGHT)
    (first, *_) = stations_of(loop, loop.rounds.get(index=0), timezone.now())
    assert (first.key, first.word) == ("prepare", "Start")
    done = run()
    stations = stations_of(done, done.rounds.get(index=1), timezone.now())
    assert [(one.word, one.state) for one in stations][:3] == [
        ("Prompts", "done"),
        ("Sampling", "done"),
        ("Judging", "done"),
    ]
    assert stations[0].note == "4 new prompts"


def test_the_forecast_counts_the_policys_scores_and_says_that_the_start_is_taught(world):
    recipe = apply_settings(get_recipe("self-rewarding"), {"prompts.n": "100"})
    found = forecast(project=world, recipe=recipe, n_rounds=2)
    assert (found.prompts_a_round, found.answers, found.scores) == (100, 800, 2400)
    assert found.teaches_start
    assert found.teaching_steps == 500  # 4,000 judgements by 8; no label, and too few prompts to learn to write from
    assert not forecast(project=world, recipe=get_recipe("iterative-dpo"), n_rounds=2).teaches_start


def test_a_policy_that_judges_needs_a_policys_weights_and_a_worker_with_torch(loop_project, make_checkpoint):
    reward = loop_project.checkpoints.get(name="scorer")
    for checkpoint in (None, reward):
        with pytest.raises(BadJudge, match="needs a policy checkpoint"):
            judge_create(project=loop_project, name="own", kind="policy", checkpoint=checkpoint)
    policy = loop_project.checkpoints.get(name="start")
    with pytest.raises(BadJudge, match="1 to 64 times"):
        judge_create(project=loop_project, name="own", kind="policy", checkpoint=policy, options={"samples": 65})
    judge = judge_create(project=loop_project, name="own", kind="policy", checkpoint=policy)
    assert (judge.mode, judge.order_policy, judge.options["samples"]) == ("additive", "random", 3)
    assert judge_queue(judge) == "gpu"
    assert judge.gives_scores
    assert not Comparison.objects.exists()
