"""People in command of a loop: pause, change what comes next, branch, and train again without their overrides."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.core.models import AuditEvent
from apps.jobs.drain import drain
from apps.jobs.models import FailureClass, Job
from apps.jobs.registry import JobFailure
from apps.labels.models import Judge
from apps.policies.models import Checkpoint
from apps.rankings.services import override_create
from apps.samples.models import Comparison
from apps.training.changes import changeable, recipe_of
from apps.training.loops.counterfactual import CounterfactualRefused, counterfactual_start
from apps.training.loops.steering import LoopNotActive, loop_cancel, loop_change, loop_continue, loop_pause, loop_resume
from apps.training.models import Counterfactual, Loop, LoopState, Snapshot, SnapshotItem, Stage, TrainingRun
from apps.training.rounds.loop_judge import LoopRefused
from prefloop.config import ConfigError
from prefloop.recipes.catalogue import get_recipe, list_recipes

pytestmark = pytest.mark.django_db
LOOPS = "/p/letters-test/loops/"


def state_of(loop):
    loop.refresh_from_db()
    return loop.state


# --- pause -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_paused_loop_takes_no_step_and_resuming_goes_on_where_it_stood(start, drive, fakes, erin):
    loop = start(n_rounds=1)
    drain(["gpu", "cpu"], worker_name="test", until=lambda: "sampling.chunk" in fakes.calls)
    loop_pause(loop=loop, by=erin)
    drive()
    assert state_of(loop) == LoopState.PAUSED
    assert "training.run" not in fakes.calls
    assert Job.objects.filter(state__in=("queued", "running")).count() == 0
    with pytest.raises(LoopNotActive, match="nothing to pause"):
        loop_pause(loop=loop, by=erin)
    loop_resume(loop=loop, by=erin)
    drive()
    assert state_of(loop) == LoopState.DONE
    assert fakes.calls.count("sampling.chunk") == 1  # what was sampled is kept
    verbs = list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))
    assert verbs == ["loop started", "loop paused", "loop resumed"]


@pytest.mark.slow
def test_a_paused_loop_can_be_cancelled_and_one_at_the_gate_waits_again_after_a_pause(start, drive, erin):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    loop_pause(loop=loop, by=erin)
    assert state_of(loop) == LoopState.PAUSED
    loop_resume(loop=loop, by=erin)
    drive()
    assert state_of(loop) == LoopState.WAITING
    loop_pause(loop=loop, by=erin)
    loop_cancel(loop=loop, by=erin, now=timezone.now())
    assert state_of(loop) == LoopState.CANCELLED


@pytest.mark.slow
def test_resumed_while_its_worker_is_still_leaving_the_loop_waits_for_it(start, drive, fakes, erin):
    loop = start(n_rounds=1)
    drain(["gpu", "cpu"], worker_name="test", until=lambda: Job.objects.filter(kind="training.run").exists())
    job = Job.objects.get(kind="training.run")
    Job.objects.filter(pk=job.pk).update(state="running")
    loop_pause(loop=loop, by=erin)
    Job.objects.filter(pk=job.pk).update(state="cancelling")
    loop_resume(loop=loop, by=erin)
    drain(["gpu", "cpu"], worker_name="test")
    assert (state_of(loop), loop.error) == (LoopState.RUNNING, "")
    later = Job.objects.filter(kind="rounds.advance", state="queued")
    assert all(one.run_after is not None for one in later)
    assert later
    Job.objects.filter(pk=job.pk).update(state="cancelled")
    later.update(run_after=None)
    drive()
    assert state_of(loop) == LoopState.DONE


# --- a setting from the next round on --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_change_holds_from_the_next_round_on_and_says_who_made_it(start, drive, fakes, erin):
    loop = start(n_rounds=3)
    drain(["gpu", "cpu"], worker_name="test", until=lambda: fakes.calls.count("training.run") == 1)
    change = loop_change(
        loop=loop, settings={"draws.n": "2", "objective.beta": "0.9", "objective.lr": "1.7e-4"}, by=erin
    )
    assert (change.from_round, change.by) == (2, erin)
    assert change.chosen == {"draws.n": "2", "objective.beta": "0.9"}  # the rate was that already
    drive()
    assert state_of(loop) == LoopState.DONE
    sizes = [one.sampling_run.n for one in loop.rounds.filter(index__gt=0).order_by("index")]
    assert sizes == [3, 2, 2]
    betas = [recipe_of(loop, index).objective.beta for index in (1, 2, 3)]
    assert betas == [0.3, 0.9, 0.9]
    specs = [run.spec["objective"]["beta"] for run in TrainingRun.objects.filter(round__loop=loop).order_by("id")]
    assert specs == betas
    said = AuditEvent.objects.get(verb="loop changed")
    assert said.actor == erin
    assert said.data == {"from_round": 2, "draws.n": "3 → 2", "objective.beta": "0.3 → 0.9"}


@pytest.mark.slow
def test_rounds_can_be_added_and_taken_away_but_not_those_that_have_begun(start, drive, fakes, erin):
    loop = start(n_rounds=2)
    drain(["gpu", "cpu"], worker_name="test", until=lambda: fakes.calls.count("training.run") == 2)
    with pytest.raises(LoopRefused, match="rounds must be between 2, which has started, and 1000, not 1"):
        loop_change(loop=loop, settings={}, n_rounds=1, by=erin)
    with pytest.raises(LoopRefused, match="round 2 is the last one and has started"):
        loop_change(loop=loop, settings={"objective.beta": 0.5}, by=erin)
    loop_change(loop=loop, settings={"objective.beta": 0.5}, n_rounds=3, by=erin)
    drive()
    assert state_of(loop) == LoopState.DONE
    assert loop.rounds.count() == 4
    with pytest.raises(LoopRefused, match="branch a new loop"):
        loop_change(loop=loop, settings={"objective.beta": 0.6}, by=erin)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "says", "error"),
    [
        ({"score.judge": "world"}, "score.judge can't change while the loop runs", LoopRefused),
        ({"draws.source": "initial"}, "draws.source can't change", LoopRefused),
        ({"adapter.kind": "lora"}, "adapter.kind can't change", LoopRefused),
        ({"objective.beta": "-1"}, "objective.beta must be a number > 0", ConfigError),
        ({"objective.bete": "1"}, "no setting 'objective.bete'", ConfigError),
        ({"draws.n": "1"}, "draws.n must be a whole number ≥ 2", ConfigError),
        ({"objective.reference": "checkpoint:nobody"}, "no policy checkpoint 'nobody'", Exception),
        ({"objective.beta": "0.3"}, "nothing would change", LoopRefused),
    ],
)
def test_what_may_not_change_is_refused_and_nothing_is_written(start, erin, changed, says, error):
    loop = start()
    with pytest.raises(error, match=says):
        loop_change(loop=loop, settings=changed, by=erin)
    assert loop.changes.count() == 0
    assert not AuditEvent.objects.filter(verb="loop changed").exists()


def test_what_a_step_refreshed_block_counts_by_stays():
    free = {info.key for info in changeable(get_recipe("oaif-dpo"))}
    assert {"objective.beta", "objective.lr", "draws.temperature"} <= free
    assert not free & {"prompts.n", "draws.n", "objective.batch", "objective.epochs", "objective.schedule"}
    assert not free & {"label.judge", "draws.source", "refresh", "adapter.kind"}


@pytest.mark.parametrize("recipe", [one.name for one in list_recipes() if one.group != "offline"])
def test_every_recipe_of_several_rounds_has_something_that_may_change(recipe):
    assert changeable(get_recipe(recipe))


# --- a branch --------------------------------------------------------------------------------------------------------


def form_of(page):
    """What a browser would post of the page's form, untouched."""
    form = page.context["form"]
    data = {name: form[name].value() for name in form.fields}
    return {key: "" if value is None else value for key, value in data.items()}


@pytest.mark.slow
def test_a_branch_starts_from_the_round_s_checkpoint_with_its_settings_to_edit(start, drive, fakes, erin, client_for):
    loop = start(n_rounds=2, **{"objective.beta": "0.7"})
    drain(["gpu", "cpu"], worker_name="test", until=lambda: fakes.calls.count("training.run") == 1)
    loop_change(loop=loop, settings={"objective.lr": "2e-4"}, by=erin)
    drive()
    second = loop.rounds.get(index=2)
    address = f"{LOOPS}new/iterative-dpo/?branch={second.pk}"
    client = client_for(erin)
    assert f"?branch={second.pk}" in client.get(f"{LOOPS}{loop.pk}/").content.decode()
    data = form_of(client.get(address))
    assert (data["start"], data["objective.beta"], data["objective.lr"]) == (second.output.name, 0.7, 0.0002)
    assert client.post(address, data | {"rounds": "1", "objective.beta": "0.2"}).status_code == 302
    branch = Loop.objects.exclude(pk=loop.pk).get()
    assert (branch.branched_from, branch.initial) == (second, second.output)
    assert branch.chosen == {"prompts.n": "4", "draws.n": "3", "objective.beta": "0.2", "objective.lr": "0.0002"}
    drive()
    assert state_of(branch) == LoopState.DONE
    assert branch.rounds.get(index=1).policy == second.output
    page = client.get(f"{LOOPS}{branch.pk}/").content.decode()
    assert f"branched from round 2 of loop {loop.pk}" in page


@pytest.mark.slow
def test_a_round_that_has_not_ended_or_is_of_another_project_or_recipe_is_no_branch(
    start, drive, erin, charlie, other_project, client_for
):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    unfinished = loop.rounds.get(index=1)
    assert unfinished.stage == Stage.REVIEW
    first = loop.rounds.get(index=0)
    for text in (str(unfinished.pk), "0", "x", "9" * 40):
        assert client_for(erin).get(f"{LOOPS}new/iterative-dpo/?branch={text}").status_code == 404
    assert client_for(erin).get(f"{LOOPS}new/iterative-dpo/?branch={first.pk}").status_code == 200
    assert client_for(erin).get(f"{LOOPS}new/rs-ft/?branch={first.pk}").status_code == 404
    elsewhere = f"/p/{other_project.slug}/loops/new/iterative-dpo/?branch={first.pk}"
    assert client_for(charlie).get(elsewhere).status_code == 404


@pytest.mark.slow
def test_settings_that_came_with_a_choice_go_with_it_when_the_branch_takes_it_back(start, drive, erin, client_for):
    loop = start("rest", n_rounds=1, **{"filter.kind": "rejection", "filter.keep": "2"})
    drive()
    address = f"{LOOPS}new/rest/?branch={loop.rounds.get(index=1).pk}"
    client = client_for(erin)
    data = form_of(client.get(address))
    assert data["filter.keep"] == 2
    client.post(address, data | {"filter.kind": "thresholds"})
    branch = Loop.objects.exclude(pk=loop.pk).get()
    assert branch.chosen == {"prompts.n": "4", "draws.n": "3"}


# --- without overrides -----------------------------------------------------------------------------------------------


@pytest.fixture
def overridden(start, drive, bob):
    """A finished round in which a person overrode two labels: one turned round, one made a tie."""
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    rows = list(Comparison.objects.filter(origin=f"loop:{loop.pk}:1").order_by("id"))
    judge = Judge.objects.get(name="reward-model")
    for row, choice in zip(rows, ("first", "tie"), strict=False):
        override_create(comparison=row, judge=judge, user=bob, now=timezone.now(), choice=choice)
    loop_continue(loop=loop, by=bob)
    drive()
    assert state_of(loop) == LoopState.DONE
    return loop


@pytest.mark.slow
def test_a_round_is_trained_again_as_if_nobody_had_overridden_a_label(overridden, drive, erin):
    round_ = overridden.rounds.get(index=1)
    real = TrainingRun.objects.get(round=round_)
    with_people = dict(SnapshotItem.objects.filter(snapshot=real.snapshot).values_list("comparison_id", "p_first"))
    assert sorted(with_people.values()) == [0.0, 0.0, 0.5, 1.0]
    found = counterfactual_start(round_=round_, by=erin)
    with pytest.raises(CounterfactualRefused, match="already"):
        counterfactual_start(round_=round_, by=erin)
    drive()
    found.refresh_from_db()
    assert (found.state, found.n_changed, found.result["gold_mean"]) == ("done", 2, 1.5)
    run = found.run
    assert run.round is None
    assert (run.start, run.reference, run.kind) == (real.start, real.reference, real.kind)
    assert run.spec["seed"] == real.spec["seed"]
    items = dict(SnapshotItem.objects.filter(snapshot=run.snapshot).values_list("comparison_id", "p_first"))
    assert items == dict.fromkeys(with_people, 0.0)  # all as the judge had them, hard as the recipe takes them
    assert run.snapshot.n_overrides == 0
    # the loop itself is what it was
    assert overridden.rounds.count() == 2
    assert TrainingRun.objects.filter(round=round_).get() == real
    assert state_of(overridden) == LoopState.DONE


@pytest.mark.slow
def test_the_page_offers_it_and_shows_both_side_by_side(overridden, drive, erin, bob, client_for):
    path = f"{LOOPS}{overridden.pk}/"
    start_at = f"{path}rounds/1/without-overrides/"
    assert start_at in client_for(erin).get(path).content.decode()
    assert start_at not in client_for(bob).get(path).content.decode()
    assert client_for(bob).post(start_at).status_code == 404
    assert client_for(erin).post(f"{path}rounds/7/without-overrides/").status_code == 404
    before = client_for(erin).get(path)["X-Since"]
    assert client_for(erin).post(start_at).status_code == 302
    assert client_for(erin).get(path)["X-Since"] != before
    drive()
    page = client_for(bob).get(path).content.decode()
    made = Counterfactual.objects.get().run.output
    card = client_for(bob).get(f"/p/letters-test/policies/{made.pk}/card/").content.decode()
    assert f"Round 1 of loop {overridden.pk}, without people’s overrides" in card
    assert "trained again without people&#x27;s overrides" in card
    assert "Round 1 without people’s overrides" in page
    assert "2 labels as the judge gave them" in page
    assert "3.00" in page  # gold of the made-up measurements, with
    assert "1.50" in page  # and without
    assert start_at not in page


@pytest.mark.slow
def test_labels_remembered_only_because_they_were_overridden_are_left_out(overridden, start, drive, erin):
    later = start(n_rounds=1)
    drive()
    real = TrainingRun.objects.get(round__loop=later)
    assert real.snapshot.n_overrides == 2  # the memory of overrides brings them back
    assert real.snapshot.n_pairs == 6
    found = counterfactual_start(round_=later.rounds.get(index=1), by=erin)
    drive()
    found.refresh_from_db()
    assert found.state == "done"
    assert found.run.snapshot.n_pairs == 4


@pytest.mark.slow
def test_a_counterfactual_that_failed_says_so_and_can_be_taken_up_again(overridden, drive, fakes, erin, client_for):
    fakes.fail["training.run"] = JobFailure(FailureClass.OUT_OF_MEMORY, "3 GiB asked for")
    found = counterfactual_start(round_=overridden.rounds.get(index=1), by=erin)
    drive()
    found.refresh_from_db()
    assert (found.state, found.error) == ("failed", "3 GiB asked for")
    assert "Continue" in client_for(erin).get(f"{LOOPS}{overridden.pk}/").content.decode()
    counterfactual_start(round_=overridden.rounds.get(index=1), by=erin)
    drive()
    found.refresh_from_db()
    assert (found.state, found.error) == ("done", "")
    assert Counterfactual.objects.count() == 1
    assert Snapshot.objects.filter(name__endswith="without-overrides").count() == 1


@pytest.mark.slow
def test_a_round_without_overrides_or_under_way_is_refused(start, drive, erin):
    loop = start(n_rounds=1)
    drive()
    with pytest.raises(CounterfactualRefused, match="had no overridden label"):
        counterfactual_start(round_=loop.rounds.get(index=1), by=erin)
    assert Counterfactual.objects.count() == 0


# --- the page of changes ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_leads_see_what_may_change_and_engineers_change_it(start, ann, bob, erin, charlie, client_for):
    loop = start(n_rounds=3)
    path = f"{LOOPS}{loop.pk}/change/"
    assert client_for(ann).get(path).status_code == client_for(charlie).get(path).status_code == 404
    page = client_for(bob).get(path)
    assert "Change from round 1 on</button>" not in page.content.decode()
    data = form_of(page)
    assert "score.judge" not in data
    assert "seed" not in data
    assert client_for(bob).post(path, data).status_code == 404
    answer = client_for(erin).post(path, data)
    assert answer.status_code == 400
    assert "nothing would change" in answer.content.decode()
    answer = client_for(erin).post(path, data | {"objective.beta": "-1"})
    assert "must be a number &gt; 0" in answer.content.decode()
    assert client_for(erin).post(path, data | {"objective.beta": "0.9", "rounds": "4"}).status_code == 302
    loop.refresh_from_db()
    assert (loop.n_rounds, loop.changes.get().chosen) == (4, {"objective.beta": "0.9"})
    shown = client_for(bob).get(f"{LOOPS}{loop.pk}/").content.decode()
    assert "objective.beta: 0.3 → 0.9" in shown
    assert "rounds: 3 → 4" in shown
    assert "erin" in shown


@pytest.mark.slow
def test_pausing_and_resuming_by_the_buttons(start, erin, bob, client_for):
    loop = start(n_rounds=1)
    path = f"{LOOPS}{loop.pk}/"
    assert client_for(bob).post(f"{path}pause/").status_code == 404
    assert client_for(erin).post(f"{path}pause/").status_code == 302
    assert state_of(loop) == LoopState.PAUSED
    page = client_for(erin).get(path).content.decode()
    assert "Paused." in page
    assert 'id="loop-resume"' in page
    assert 'id="loop-pause"' not in page
    assert client_for(erin).post(f"{path}resume/").status_code == 302
    assert state_of(loop) == LoopState.RUNNING


@pytest.mark.slow
def test_a_counterfactual_s_checkpoint_is_named_after_its_round(overridden, drive, erin):
    from workers.handlers.training import output_name

    found = counterfactual_start(round_=overridden.rounds.get(index=1), by=erin)
    assert output_name(found.run) == f"iterative-dpo-{overridden.pk}-round-1-without-overrides"
    assert not Checkpoint.objects.filter(name__endswith="without-overrides").exists()
