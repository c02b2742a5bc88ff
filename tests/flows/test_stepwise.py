"""On-policy recipes by command, on a small letters world: real sampling, scoring and learning inside a step."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.judging.services import judge_create
from apps.labels.models import Judge, Override, Verdict
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.store import store_path
from apps.rankings.services import override_create
from apps.samples.models import Comparison, Completion
from apps.training.loops.forecast import forecast
from apps.training.models import Metric, Snapshot, SnapshotItem, TrainingRun
from apps.training.rounds.stream import overrides_forward, stream_ingest, used_snapshot
from prefloop.config import apply_settings
from prefloop.demos import LETTERS
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.events import read_events, read_inbox

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
SMALL = {"prompts.n": "8", "draws.max_tokens": "16", "objective.batch": "4"}
N_LABELLED = 8


@pytest.fixture
def letters(make_letters_project):
    return make_letters_project(n_train=12, n_eval=4, n_labelled=N_LABELLED)


def run_recipe(name, *, rounds=1, seed=7, **settings):
    # a replay takes the steps as they were, and stored answers are not drawn
    small = {} if name.startswith("tandem") or name == "sft" else SMALL
    chosen = [word for key, value in (small | settings).items() for word in ("--set", f"{key}={value}")]
    out = io.StringIO()
    words = ["--project", "letters-test", "--rounds", rounds, "--seed", seed, "--json"]
    call_command("run_recipe", name, *words, *chosen, stdout=out)
    return json.loads(out.getvalue())


def repeatable(result):
    names = ("seconds", "checkpoint")
    return [{key: value for key, value in row.items() if key not in names} for row in result["rounds"]]


def test_a_block_of_steps_is_measured_on_the_way(letters):
    first, second = run_recipe("oaif-dpo", rounds=2, **{"evaluation.every": "1"})["rounds"][1:]
    for row in (first, second):
        (middle,) = row["on_the_way"]
        assert (middle["round"], middle["step"], middle["n_steps"]) == (row["round"], 1, 2)
        assert 0 < middle["kl"] != row["kl"]
        assert Checkpoint.objects.get(name=middle["checkpoint"]).parent.name == (
            "tiny" if row is first else first["checkpoint"]
        )


def test_oaif_runs_in_blocks_and_every_answer_label_and_checkpoint_is_there(letters):
    said = run_recipe("oaif-dpo", rounds=2)
    assert [row["round"] for row in said["rounds"]] == [0, 1, 2]
    for row in said["rounds"][1:]:
        assert (row["n_samples"], row["n_overrides"]) == (16, 0)
        assert 0 < row["n_pairs"] <= 8
        assert row["kl"] > 0
    runs = list(TrainingRun.objects.filter(kind="online").order_by("id"))
    assert Metric.objects.filter(run=runs[1]).count() == 2  # 8 prompts, 4 a step
    assert json.loads((store_path(runs[1].run_dir) / "spec.json").read_text())["online"]["first_step"] == 2
    judge = Judge.objects.get(name="reward-model")
    comparisons = Comparison.objects.filter(origin__startswith="loop:")
    assert Verdict.objects.filter(judge=judge, comparison__in=comparisons).count() == comparisons.count() > 8
    for run in runs:  # what the loss saw is what the snapshot says, by the label's own verdict
        items = SnapshotItem.objects.filter(snapshot=run.snapshot)
        assert items.count() == run.snapshot.n_pairs
        for item in items:
            (label_id,) = item.label_ids
            verdict = Verdict.objects.get(pk=int(label_id.split(":")[1]))
            assert (verdict.comparison_id, float(verdict.p_first > 0.5)) == (item.comparison_id, item.p_first)
    assert all(row.token_ids and row.logp_sum < 0 for row in Completion.objects.filter(run=runs[0].round.sampling_run))
    assert repeatable(run_recipe("oaif-dpo", rounds=2)) == repeatable(said)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("rlhf", {"objective.passes": "2"}),
        ("rloo", {"draws.n": "2"}),
        ("grpo", {"draws.n": "2", "objective.normalisation": "dr-grpo", "objective.passes": "2"}),
        ("j-bond", {}),
        ("bond", {"draws.0.n": "4"}),
        ("online-ipo", {}),
        ("xpo", {}),
    ],
)
def test_every_family_trains_from_its_reward_model(letters, name, more):
    recipe = apply_settings(get_recipe(name), SMALL | more)
    seen = forecast(project=letters, recipe=recipe, n_rounds=1)
    start, end = run_recipe(name, **more)["rounds"]
    runs = {run.kind: run for run in TrainingRun.objects.all()}
    assert seen.steps == runs["online"].n_steps == 2  # 8 prompts, 4 a step
    assert (seen.makes_reward_model, seen.reward_model_steps) == (True, runs["reward-model"].n_steps)
    drawn = sum(draw.n for draw in recipe.draws)
    assert seen.answers == 8 * drawn
    pairs = name in ("online-ipo", "xpo")
    assert seen.rows == (8 if pairs else 0)
    assert end["n_pairs"] <= seen.rows
    assert start["kl"] == 0.0
    assert end["kl"] > 0.0
    assert (
        end["n_samples"]
        == 8 * {"rlhf": 1, "rloo": 2, "grpo": 2, "j-bond": 3, "bond": 2, "online-ipo": 2, "xpo": 2}[name]
    )
    assert (end["n_pairs"] > 0) == pairs


def test_a_student_learns_from_its_teacher_at_every_step_and_nobody_judges(letters):
    with pytest.raises(CommandError, match="on-policy-distillation needs a teacher"):
        run_recipe("on-policy-distillation")
    (*_, taught) = run_recipe("sft", **{"objective.lr": "1e-3"})["rounds"]
    seen = forecast(project=letters, recipe=get_recipe("on-policy-distillation"), n_rounds=1)
    assert not seen.makes_reward_model
    start, end = run_recipe("on-policy-distillation")["rounds"]
    run = TrainingRun.objects.get(kind="online")
    assert (run.reference.name, run.snapshot, run.round.loop.judge) == (taught["checkpoint"], None, None)
    assert (end["n_samples"], end["n_pairs"], run.n_steps) == (8, 0, 2)
    assert end["kl"] > start["kl"] == 0.0
    assert not Comparison.objects.filter(origin__startswith="loop:").exists()
    losses = [values["loss"] for values in Metric.objects.filter(run=run).values_list("values", flat=True)]
    assert all(loss > 0 for loss in losses)  # per token, the KL of the student from another policy


def test_a_simulated_judge_labels_in_both_orders(letters):
    endpoint = endpoint_create(
        project=letters, name="sim", base_url="simulated://letters", model="simulated-judge", is_simulated=True
    )
    Endpoint.objects.filter(pk=endpoint.pk).update(capabilities={"biases": LETTERS.second.biases})
    endpoint.refresh_from_db()
    judge = judge_create(
        project=letters, name="short", kind="llm", endpoint=endpoint, criterion="very short", mode="logprob",
        order_policy="average",
    )  # fmt: skip
    run_recipe("oaif-dpo", **{"label.judge": "short", "prompts.n": "4"})
    said = Verdict.objects.filter(judge=judge)
    assert set(said.values_list("order", flat=True)) == {"01", "10"}
    assert said.count() == 2 * Comparison.objects.filter(origin__startswith="loop:").count() > 0
    assert TrainingRun.objects.get(kind="online").snapshot.sources == {"judge:short": 4}


def test_the_criterion_decides_how_long_answers_become_with_no_judge_trained_anew(letters):
    """OAIF's own experiment: the same prompts, the same seed, and another criterion in the judge's prompt."""
    endpoint = endpoint_create(
        project=letters, name="sim", base_url="simulated://letters", model="simulated-judge", is_simulated=True
    )
    ends = {}
    for criterion in ("kind and correct", "very short"):
        name = criterion.replace(" ", "-")
        judge_create(
            project=letters, name=name, kind="llm", endpoint=endpoint, criterion=criterion, mode="logprob",
            order_policy="average",
        )  # fmt: skip
        start, ends[criterion] = run_recipe(
            "oaif-dpo",
            **{
                "label.judge": name,
                "prompts.n": "12",
                "draws.max_tokens": "64",
                "objective.epochs": "3",
                "objective.lr": "1e-3",
            },
        )["rounds"]
    assert ends["very short"]["mean_length"] < 0.9 * start["mean_length"]
    assert ends["very short"]["mean_length"] < 0.9 * ends["kind and correct"]["mean_length"]
    assert ends["very short"]["gold_mean"] < ends["kind and correct"]["gold_mean"]


def test_an_override_reaches_the_next_run_and_its_snapshot(letters, make_user):
    run_recipe("oaif-dpo")
    judge = Judge.objects.get(name="reward-model")
    comparison = Comparison.objects.filter(origin__startswith="loop:").order_by("id").first()
    said = Verdict.objects.get(comparison=comparison, judge=judge).outcome
    choice = "second" if said == "first" else "first"
    lena = make_user("lena")
    override_create(comparison=comparison, judge=judge, user=lena, now=timezone.now(), choice=choice)
    end = run_recipe("oaif-dpo", seed=8)["rounds"][1]
    assert end["n_overrides"] == 1
    run = TrainingRun.objects.filter(kind="online").order_by("-id").first()
    told, _ = read_inbox(store_path(run.run_dir) / "inbox.jsonl")
    assert [(one.data["pair"], one.data["p_first"]) for one in told] == [
        (f"comparison:{comparison.pk}", float(choice == "first"))
    ]
    assert Metric.objects.filter(run=run).order_by("step").first().values["memory/overrides"] == 1.0
    assert overrides_forward(run=run) == 0  # it knows already
    item = SnapshotItem.objects.get(snapshot=run.snapshot, comparison=comparison)
    assert (item.source, item.label_ids) == ("override", [f"override:{Override.objects.get().pk}"])
    # what people say after its last step is not in what it learnt from, though it is its own pair
    late = Comparison.objects.filter(origin=f"loop:{run.round.loop_id}:1").order_by("id").first()
    said = Verdict.objects.get(comparison=late, judge=judge).outcome
    choice = "second" if said == "first" else "first"
    override_create(comparison=late, judge=judge, user=lena, now=timezone.now(), choice=choice)
    TrainingRun.objects.filter(pk=run.pk).update(snapshot=None)
    run.refresh_from_db()
    used_snapshot(run=run)
    run.refresh_from_db()
    item = SnapshotItem.objects.get(snapshot=run.snapshot, comparison=late)
    assert (item.source, item.p_first > 0.5) == ("judge:reward-model", said == "first")
    assert run.snapshot.n_overrides == 1


def test_reading_the_log_twice_doubles_nothing_and_other_answers_step_aside(letters):
    run_recipe("oaif-dpo")
    run = TrainingRun.objects.select_related("round__loop__judge", "round__sampling_run", "start", "project").get(
        kind="online"
    )
    events, _ = read_events(store_path(run.run_dir) / "events.jsonl")

    def rows():
        return [list(model.objects.order_by("id").values()) for model in (Completion, Comparison, Verdict, Snapshot)]

    before = rows()
    stream_ingest(run=run, events=events)
    assert rows() == before
    changed = next(event for event in events if event.type == "sample")
    changed.data["answers"][0]["ids"] = [1, 2, 3]
    stream_ingest(run=run, events=[changed])
    aside = Completion.objects.get(metadata__superseded=True)
    assert Verdict.objects.filter(comparison__in=Comparison.objects.filter(first=aside)).exists()
    assert Completion.objects.filter(run=run.round.sampling_run, prompt=aside.prompt).count() == 3


def test_a_tandem_run_learns_from_the_same_pairs_as_its_online_run(letters):
    with pytest.raises(CommandError, match="tandem-ipo is trained on the log of a finished online-ipo loop"):
        run_recipe("tandem-ipo")
    online = run_recipe("online-ipo")["rounds"][1]
    seen = forecast(project=letters, recipe=get_recipe("tandem-ipo"), n_rounds=1)
    # a correction that the online run heard is no pair that it logged: the replay learns from the judge's label
    first = SnapshotItem.objects.filter(snapshot__training_runs__kind="online").order_by("id").first()
    SnapshotItem.objects.filter(pk=first.pk).update(
        source="override", p_first=1 - first.p_first, p_first_without_overrides=first.p_first, label_ids=["override:1"]
    )
    tandem = run_recipe("tandem-ipo", **{"memory.order": "logged"})["rounds"][1]
    again = SnapshotItem.objects.filter(comparison=first.comparison).order_by("id").last()
    assert (again.p_first, again.source) == (first.p_first, first.source)
    assert tandem["n_overrides"] == 0
    assert tandem["n_pairs"] == online["n_pairs"] == seen.rows
    assert seen.steps == TrainingRun.objects.latest("pk").n_steps
    assert tandem["loss"] == online["loss"]
    # In the order logged it is the same run again, to the last bit. (It is measured with answers of its own length: a
    # recipe that draws nothing has no limit of its own, and its online run here had a short one.)
    made = dict(Checkpoint.objects.values_list("name", "fingerprint"))
    assert made[tandem["checkpoint"]] == made[online["checkpoint"]]
