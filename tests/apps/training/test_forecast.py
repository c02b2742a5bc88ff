"""What a loop is said to cost before it starts, held against what it then does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.jobs.models import Job, JobGroup
from apps.samples.models import Completion, SamplingRun
from apps.training.loops.forecast import forecast
from apps.training.loops.forms import LoopForm
from apps.training.models import TrainingRun
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe

pytestmark = pytest.mark.django_db
FORM = "/p/letters-test/loops/new/iterative-dpo/"


def form_data(project, **changes):
    """What a browser would send when nothing was touched but `changes`."""
    form = LoopForm(project, get_recipe("iterative-dpo"))
    data = {name: form[name].value() for name in form.fields}
    return {key: "" if value is None else value for key, value in (data | changes).items()}


def test_the_forecast_is_prompts_times_answers_times_rounds(loop_project):
    recipe = apply_settings(
        get_recipe("iterative-dpo"),
        {"prompts.n": "4", "draws.n": "8", "objective.batch": "3", "objective.epochs": "2", "review.mode": "sample",
         "review.budget": "3"},
    )  # fmt: skip
    seen = forecast(project=loop_project, recipe=recipe, n_rounds=5)
    assert (seen.answers, seen.scores, seen.rows, seen.reviews) == (160, 160, 20, 15)
    assert seen.steps == 5 * 2 * 2  # 4 pairs in batches of 3 are 2 steps an epoch
    assert seen.evaluation_answers == 2 * 4 * 6  # held-out prompts, answers, rounds and the start
    assert not seen.makes_reward_model


def test_the_forecast_never_asks_for_more_prompts_than_there_are(loop_project):
    seen = forecast(project=loop_project, recipe=get_recipe("iterative-dpo"), n_rounds=1)
    assert (seen.prompts_a_round, seen.answers) == (6, 48)


@pytest.mark.slow
def test_the_forecast_is_what_the_loop_then_does(start, drive, loop_project):
    loop = start(n_rounds=2)
    recipe = apply_settings(get_recipe("iterative-dpo"), loop.chosen)
    seen = forecast(project=loop_project, recipe=recipe, n_rounds=2)
    drive()
    rows = [row.result for row in loop.rounds.filter(index__gt=0)]
    assert seen.answers == sum(row["n_samples"] for row in rows)
    assert seen.rows == sum(row["n_pairs"] for row in rows)


@pytest.mark.slow
def test_the_forecast_follows_the_form_and_says_what_is_wrong_with_it(loop_project, bob, client_for):
    client = client_for(bob)
    page = client.get(f"{FORM}forecast/", form_data(loop_project, rounds="2")).content.decode()
    assert "<b>96</b>" in page  # 6 prompts × 8 × 2
    page = client.get(f"{FORM}forecast/", form_data(loop_project, **{"draws.n": "1"})).content.decode()
    assert "“Answers a prompt” must be a whole number ≥ 2" in page


@pytest.mark.slow
def test_the_forecast_warns_of_a_small_models_learning_rate_for_all_weights_of_a_large_one(
    loop_project, make_checkpoint, bob, client_for
):
    def page(**settings):
        data = form_data(loop_project, start="large", **settings)
        return client_for(bob).get(f"{FORM}forecast/", data).content.decode()

    large = make_checkpoint(loop_project, "large", n_parameters=112_000_000)
    warning = "All 112,000,000 parameters of large are trained"
    assert warning in page()
    assert warning not in page(**{"objective.lr": "1e-6"})
    assert warning not in page(**{"adapter.kind": "lora"})
    assert warning not in client_for(bob).get(FORM).content.decode()  # the default start is small
    large.n_parameters = 500_000_000  # an adapter, unless said otherwise
    large.save()
    assert "parameters of large" not in page()
    assert "All 500,000,000 parameters of large are trained" in page(**{"adapter.kind": "none"})


@pytest.mark.slow
def test_times_of_finished_rounds_make_the_next_forecast(start, drive, loop_project):
    loop = start(n_rounds=2)
    drive()
    at = timezone.now()
    for round_, seconds in zip(loop.rounds.filter(index__gt=0).order_by("index"), (10, 20), strict=True):
        round_.started_at, round_.ended_at = at, at + timedelta(seconds=seconds)
        round_.save()
    recipe = apply_settings(get_recipe("iterative-dpo"), loop.chosen)
    seen = forecast(project=loop_project, recipe=recipe, n_rounds=3)
    assert (seen.seconds, seen.seconds_from) == (45.0, 2)  # the median of 10 and 20, three times
    longer = apply_settings(recipe, {"draws.max_tokens": str(3 * recipe.draws[0].max_tokens)})
    assert forecast(project=loop_project, recipe=longer, n_rounds=3).seconds == 3 * 45.0


@pytest.fixture
def sampled(loop_project):
    """Two jobs of three seconds each, in which a model of the start's size gave 12 answers of up to 64 tokens."""
    loop_project.checkpoints.update(n_parameters=1000)
    group = JobGroup.objects.create(project=loop_project, name="sampling")
    at = timezone.now()
    for _ in range(2):
        Job.objects.create(
            project=loop_project, group=group, kind="sampling.chunk", queue="gpu", state="succeeded", attempt=1,
            started_at=at, ended_at=at + timedelta(seconds=3),
        )  # fmt: skip
    start = loop_project.checkpoints.get(name="start")
    return SamplingRun.objects.create(
        project=loop_project, checkpoint=start, prompt_ids=[1, 2, 3], n=4, max_tokens=64, group=group
    )


EIGHT = {"prompts.n": "4", "draws.n": "8", "draws.max_tokens": "128", "review.mode": "none"}


@pytest.mark.slow
def test_before_a_first_round_sampled_answers_make_a_rough_forecast(sampled, loop_project, bob, client_for):
    recipe = apply_settings(get_recipe("iterative-dpo"), EIGHT)
    seen = forecast(project=loop_project, recipe=recipe, n_rounds=2)
    # a round is worth 32 answers, 32 scores, 6 * 4 pairs and 2 * 4 answers to measure: 96 answers of twice the length,
    # at half a second for the shorter
    assert (seen.seconds, seen.seconds_from, seen.seconds_from_answers) == (2 * 96 * 2 * 0.5, 0, 12)
    page = client_for(bob).get(f"{FORM}forecast/", form_data(loop_project, rounds="2", **EIGHT)).content.decode()
    assert "about 3\u202fmin" in page
    assert "rough: no round of this recipe has finished here; based on the time that 12 answers took</span>" in page


@pytest.mark.slow
def test_a_rough_forecast_takes_no_other_size_and_no_run_that_was_cut_off(sampled, loop_project):
    recipe = get_recipe("iterative-dpo")
    assert forecast(project=loop_project, recipe=recipe, n_rounds=1).seconds
    job = sampled.group.jobs.first()
    for change in ({"state": "failed"}, {"attempt": 2}):  # a second attempt went on where the first was killed
        was = {key: getattr(job, key) for key in change}
        Job.objects.filter(pk=job.pk).update(**change)
        assert forecast(project=loop_project, recipe=recipe, n_rounds=1).seconds is None
        Job.objects.filter(pk=job.pk).update(**was)
    loop_project.checkpoints.filter(name="start").update(n_parameters=2000)
    sampled.checkpoint = loop_project.checkpoints.get(name="scorer")
    sampled.save()
    assert forecast(project=loop_project, recipe=recipe, n_rounds=1).seconds is None


@pytest.mark.slow
def test_finished_rounds_win_over_sampled_answers(sampled, start, drive, loop_project):
    loop = start(n_rounds=1)
    drive()
    at = timezone.now()
    loop.rounds.filter(index=1).update(started_at=at, ended_at=at + timedelta(seconds=10))
    seen = forecast(project=loop_project, recipe=apply_settings(get_recipe("iterative-dpo"), loop.chosen), n_rounds=1)
    assert (seen.seconds, seen.seconds_from, seen.seconds_from_answers) == (10.0, 1, 0)


@pytest.fixture
def probed(loop_project, settings, tmp_path, monkeypatch):
    """A machine on which models of the start's size were measured: 100 tokens a second sampled, and so on."""
    from apps.policies import selectors
    from prefloop.engine.speed import as_values
    from prefloop.measured import keep
    from prefloop.memory import Shape
    from prefloop.speeds import Speeds, measurement_name

    settings.VAR_DIR = tmp_path / "machine"
    settings.VAR_DIR.mkdir()
    shape = Shape(1000, layers=2, hidden=8)
    monkeypatch.setattr(selectors, "checkpoint_shape", lambda checkpoint: shape)
    speeds = Speeds(sampled=100.0, read=400.0, trained=200.0)
    keep(
        settings.VAR_DIR,
        measurement_name(shape, settings.PRECISION),
        as_values(speeds),
        threads=settings.WORKER_THREADS,
    )
    return speeds


@pytest.mark.slow
def test_before_anything_ran_the_measured_speed_of_the_model_makes_the_forecast(
    probed, sampled, loop_project, bob, client_for
):
    recipe = apply_settings(get_recipe("iterative-dpo"), EIGHT)
    seen = forecast(project=loop_project, recipe=recipe, n_rounds=2)
    from apps.training.loops.forecast import STAGE_SECONDS
    from prefloop.memory import PROMPT_TOKENS

    steps, batch = seen.steps / 2, recipe.objective.batch
    trained = steps * batch * (PROMPT_TOKENS + 2 * 128)
    read = trained / recipe.objective.epochs + (PROMPT_TOKENS + 128) * (32 + 2 * 8)
    a_round = 128 * (32 + 8) / 100 + read / 400 + trained / 200 + 5 * STAGE_SECONDS
    assert seen.seconds == pytest.approx(2 * a_round)
    assert (seen.seconds_from_speed, seen.seconds_from, seen.seconds_from_answers) == (True, 0, 0)
    page = client_for(bob).get(f"{FORM}forecast/", form_data(loop_project, rounds="2", **EIGHT)).content.decode()
    assert "from the tokens a second of models of this size on this machine" in page


@pytest.mark.slow
def test_a_loop_that_is_done_says_how_far_its_forecast_was_off(probed, start, drive, bob, client_for, api_for):
    loop = start(n_rounds=1)
    assert loop.foreseen_seconds > 0
    path, api = f"/p/letters-test/loops/{loop.pk}/", f"/api/v1/loops/{loop.pk}/"
    assert api_for(bob).get(api).json()["took_seconds"] is None
    assert "loop-took" not in client_for(bob).get(path).content.decode()
    drive()
    at = timezone.now()
    for share, words in ((1.5, "50 % longer"), (0.75, "25 % shorter"), (1.0, "the forecast was")):
        loop.rounds.filter(index=1).update(
            started_at=at, ended_at=at + timedelta(seconds=share * loop.foreseen_seconds)
        )
        assert api_for(bob).get(api).json()["took_seconds"] == pytest.approx(share * loop.foreseen_seconds, abs=1e-3)
        page = client_for(bob).get(path).content.decode()
        assert words in page
        assert ("longer)" in page, "shorter)" in page) == (share > 1, share < 1)


@pytest.fixture
def sizes(loop_project, settings, tmp_path, monkeypatch):
    """The start's sizes are those of SmolLM2-135M, computed in fp32."""
    from apps.training.loops import forecast as module
    from prefloop.memory import Shape

    shape = Shape(134_515_008, layers=30, hidden=576, mlp=1536, attention=576, keys=192, vocabulary=49_152)
    monkeypatch.setattr(module, "checkpoint_shape", lambda checkpoint: shape)
    settings.PRECISION = "float32"
    return shape


def test_memory_is_that_of_the_longest_stored_pair(sizes, loop_project, make_comparison, make_prompt):
    """Stored answers have no `max_tokens`: what they take is known from their texts, three characters a token."""
    from prefloop.memory import DEFAULT_TOKENS, PLENTY, ROW_TOKENS, Memory

    memory = Memory(sizes)
    passes = memory.passes(PLENTY, most=DEFAULT_TOKENS, on_cpu=True)

    def foreseen(recipe="dpo", **settings):
        made = apply_settings(get_recipe(recipe), settings)
        return forecast(project=loop_project, recipe=made, n_rounds=1).memory

    assert foreseen() == memory.peak(passes, ROW_TOKENS)  # no pair tells
    prompt = make_prompt(loop_project, "p" * 300, split="train", external_id="long")
    make_comparison(loop_project, ("short", "a" * 30), prompt=loop_project.prompts.first())
    make_comparison(loop_project, ("b" * 900, "c" * 3000), prompt=prompt)
    assert foreseen() == memory.peak(passes, 32 + 1400)
    assert foreseen() - memory.peak(passes, ROW_TOKENS) > 1.3e9
    assert foreseen("sft") == memory.peak(passes, 32 + 1100)  # a row is one answer
    drawn = {"draws.max_tokens": "600", "draws.n": "2"}
    assert foreseen("iterative-dpo", **drawn) == memory.peak(passes, 32 + 100 + 2 * 600)


def test_a_token_has_as_many_characters_as_in_the_answers_of_the_start(sizes, sampled, loop_project, make_prompt):
    from apps.policies.selectors import checkpoint_default
    from apps.training.loops.row_lengths import longest_row

    start = checkpoint_default(loop_project, "policy")
    prompt = loop_project.prompts.first()
    Completion.objects.create(
        project=loop_project, prompt=prompt, run=sampled, index=0, text="x" * 40, token_ids=[1] * 4
    )
    make_prompt(loop_project, "p" * 300, split="train", external_id="long")
    recipe = apply_settings(get_recipe("iterative-dpo"), {"draws.max_tokens": "64"})
    assert longest_row(loop_project, recipe, start) == 32 + 30 + 2 * 64


@pytest.mark.slow
def test_a_loop_that_is_done_says_how_far_its_memory_was_off(sizes, start, drive, bob, client_for, api_for):
    loop = start(n_rounds=1)
    assert loop.foreseen_memory > 3e9
    path, api = f"/p/letters-test/loops/{loop.pk}/", f"/api/v1/loops/{loop.pk}/"
    body = api_for(bob).get(api).json()
    assert (body["foreseen_memory_bytes"], body["memory_bytes"]) == (loop.foreseen_memory, None)
    drive()
    assert "Training held at most" not in client_for(bob).get(path).content.decode()  # the stand-in told nothing
    run = TrainingRun.objects.get(round__loop=loop)
    for share, words in ((1.5, "50 % more"), (0.75, "25 % less")):
        run.peak = {"device": "cpu", "bytes": round(share * loop.foreseen_memory)}
        run.save()
        assert api_for(bob).get(api).json()["memory_bytes"] == run.peak["bytes"]
        assert words in client_for(bob).get(path).content.decode()
    run.peak = {"device": "cuda", "bytes": 1000}  # the forecast is of a CPU
    run.save()
    page = client_for(bob).get(path).content.decode()
    assert "Training held at most" in page
    assert ("% more" in page, "% less" in page) == (False, False)


def test_a_run_keeps_the_most_memory_that_any_of_its_processes_told(loop_project, settings, tmp_path):
    from apps.policies.store import store_path
    from apps.training.sets.runs import events_ingest
    from prefloop.recipes.events import EventWriter

    run = TrainingRun.objects.create(project=loop_project, kind="dpo", run_dir="letters-test/runs/1")
    store_path(run.run_dir).mkdir(parents=True)
    for told in ((5, 7), (3, 6)):  # a process that was killed, and the next one
        events = EventWriter(store_path(run.run_dir) / "events.jsonl")
        events.write("start", step=0, n_rows=2, n_steps=2)
        for step, size in enumerate(told, 1):
            events.write("metric", step=step, values={"loss": 1.0}, peak={"device": "cpu", "bytes": size})
        events.close()
        events_ingest(run=run)
    run.refresh_from_db()
    assert run.peak == {"device": "cpu", "bytes": 7}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("large", [False, True])
def test_an_import_has_its_speed_measured_once(large, project, settings, tmp_path, monkeypatch):
    """A large model's precision is measured too, and both measurements wait for others of the machine."""
    from apps.jobs.drain import drain
    from apps.policies.selectors import checkpoint_speeds
    from apps.policies.services import checkpoint_import
    from prefloop.model_sources import Directory
    from tests.prefloop.tiny import save_tiny_policy

    settings.STORE_DIR, settings.VAR_DIR = tmp_path / "store", tmp_path / "machine"
    if large:
        monkeypatch.setattr("prefloop.engine.precision.LEAST_PARAMETERS", 1)
    source = save_tiny_policy(tmp_path / "tiny", seed=71 + large, chat=True)  # no model that is loaded already
    for name in ("one", "two"):
        made = checkpoint_import(project=project, name=name, role="policy", source=Directory(source))
        drain(["gpu", "cpu"], worker_name="here")
    (job,) = Job.objects.filter(kind="policies.speed")
    assert (job.state, job.title) == ("succeeded", "Measure the speed of one")
    speeds = checkpoint_speeds(made)
    assert min(speeds.sampled, speeds.read, speeds.trained) > 0
