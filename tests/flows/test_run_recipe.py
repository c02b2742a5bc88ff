"""`run_recipe`, `sample` and `judge` in the foreground, on a small letters world: what they print, and leave behind."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.jobs.models import Job
from apps.labels.models import Judge, Verdict
from apps.labels.services import preferences_derive
from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from apps.rankings.services import override_create
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.models import Loop, Metric, Round, Snapshot, SnapshotItem
from apps.training.sets.snapshots import NothingToTrainOn, snapshot_export
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.snapshots import read_pairs, read_rows
from prefloop.worlds.letters.corpus import answers
from prefloop.worlds.letters.world import LettersWorld

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

KEYS = {  # DESIGN 8
    "round",
    "n_samples",
    "n_pairs",
    "n_overrides",
    "loss",
    "gold_mean",
    "win_rate_vs_initial",
    "win_rate_ci95",
    "kl",
    "mean_length",
    "seconds",
    "checkpoint",
}
SMALL = {
    "sft": {"objective.batch": "8"},
    "reward-model": {"objective.batch": "8", "objective.epochs": "3"},
    "best-of-n": {"draws.n": "4", "draws.max_tokens": "24"},
    "dpo": {"objective.batch": "8"},
    "kto": {"objective.batch": "8"},
    "iterative-dpo": {"prompts.n": "16", "draws.n": "4", "draws.max_tokens": "24", "objective.batch": "8"},
}
N_LABELLED = 16


@pytest.fixture
def letters(make_letters_project):
    return make_letters_project(n_labelled=N_LABELLED)


@pytest.fixture
def overridden(letters, make_user):
    """A comparison whose label a person turned round, having seen the verdict."""
    comparison = Comparison.objects.filter(project=letters, held_out=False).order_by("id").first()
    judge = Judge.objects.get(project=letters, name="world-preference")
    said = Verdict.objects.get(judge=judge, comparison=comparison).outcome
    override_create(
        comparison=comparison,
        judge=judge,
        user=make_user("lena"),
        now=timezone.now(),
        choice="second" if said == "first" else "first",
        reason="It is about the wrong thing.",
    )
    preferences_derive(project=letters, comparison_ids=[comparison.pk], now=timezone.now())
    return comparison


def run(*words, **options):
    out = io.StringIO()
    call_command(*words, stdout=out, **options)
    return out.getvalue()


def run_recipe(name, *, rounds=1, seed=7, **settings):
    chosen = [word for key, value in (SMALL[name] | settings).items() for word in ("--set", f"{key}={value}")]
    said = run("run_recipe", name, "--project", "letters-test", "--rounds", rounds, "--seed", seed, "--json", *chosen)
    return json.loads(said)


def repeatable(result):
    """What must be the same whenever it is run: all but the time and the names."""
    names = ("seconds", "checkpoint", "reward_model")
    return [{key: value for key, value in row.items() if key not in names} for row in result["rounds"]]


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("iterative-dpo", "kto")])
def test_a_recipe_prints_a_row_a_round_and_the_same_again_for_the_same_seed(letters, name):
    result = run_recipe(name)
    assert set(result) == {"recipe", "evaluation", "rounds"}
    assert set(result["evaluation"]) == {"judge", "independent"}
    assert result["recipe"] == name
    assert [row["round"] for row in result["rounds"]] == [0, 1]
    for row in result["rounds"]:
        assert set(row) >= KEYS
        assert row["seconds"] >= 0
    start, end = result["rounds"]
    assert start["checkpoint"] == "tiny"
    if name != "reward-model":
        assert start["win_rate_vs_initial"] == 0.5  # against itself
        assert start["kl"] == 0
        assert start["n_pairs"] == start["n_samples"] == 0
    if name in ("sft", "dpo"):
        assert end["n_pairs"] == N_LABELLED
        assert end["kl"] > 0
        low, high = end["win_rate_ci95"]
        assert low <= end["win_rate_vs_initial"] <= high
        made = Checkpoint.objects.get(name=end["checkpoint"])
        assert (made.parent.name, made.recipe, made.role) == ("tiny", name, "policy")
        assert end["loss"] == Metric.objects.filter(run__output=made).order_by("-step").first().values["loss"]
    if name == "reward-model":
        assert end["n_held_out"] == 4
        assert Judge.objects.get(name="reward-model").checkpoint.name == end["reward_model"]
    if name == "best-of-n":
        assert end["n_samples"] == 12 * 4
        assert [point["n"] for point in end["best_of_n"]] == [1, 2, 4]
        # one draw's expected truth is the plain mean of all draws
        assert end["best_of_n"][0]["kl_bound"] == 0
        assert end["gold_mean"] == end["best_of_n"][-1]["mean"]
    assert repeatable(run_recipe(name)) == repeatable(result)
    if name == "dpo":
        one, other = Snapshot.objects.order_by("id")
        assert snapshot_export(one) == snapshot_export(other)


def test_a_policy_is_measured_on_the_way_and_ends_as_one_that_was_not(letters):
    plain = run_recipe("dpo")
    told = run_recipe("dpo", **{"evaluation.every": "1"})
    (middle,) = told["rounds"][1].pop("on_the_way")  # of two steps
    assert repeatable(told) == repeatable(plain)
    start, end = told["rounds"]
    assert (middle["round"], middle["step"], middle["n_steps"]) == (1, 1, 2)
    assert start["kl"] < middle["kl"] != end["kl"]
    assert middle["n_eval_samples"] == end["n_eval_samples"]
    low, high = middle["win_rate_ci95"]
    assert low <= middle["win_rate_vs_initial"] <= high
    made = Checkpoint.objects.get(name=middle["checkpoint"])
    assert made.name == end["checkpoint"] + "-at-1"
    assert made.fingerprint != Checkpoint.objects.get(name=end["checkpoint"]).fingerprint
    first = Metric.objects.filter(run__kept_steps__checkpoint=made, step=1).get()
    assert middle["loss"] == first.values["loss"]


def test_a_file_of_flagged_answers_becomes_a_policy_by_kto(make_letters_project, tmp_path):
    letters = make_letters_project(n_labelled=0)
    rows = [
        {"prompt": prompt.text, "completion": answers(prompt, 2, seed=0)[at % 2], "label": at % 2 == 1}
        for at, prompt in enumerate(LettersWorld(0).prompts("train")[:16])
    ]
    path = tmp_path / "unpaired.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("import_records", str(path), project=letters.slug)
    start, end = run_recipe("kto")["rounds"]
    assert (start["kl"], end["n_pairs"]) == (0, 16)
    assert end["kl"] > 0
    made = Checkpoint.objects.get(name=end["checkpoint"])
    assert (made.recipe, made.parent.name) == ("kto", "tiny")
    snapshot = Snapshot.objects.get()
    learnt = read_rows(store_path(snapshot.path), "answers", sha256=snapshot.sha256)
    assert [(row.prompt, row.completion, row.desirable) for row in learnt] == [tuple(row.values()) for row in rows]
    metrics = Metric.objects.filter(run__output=made).order_by("-step").first().values
    assert metrics["rewards/chosen"] > metrics["rewards/rejected"]
    with pytest.raises(CommandError, match="only flags of single answers, from which kto can learn"):
        run_recipe("dpo")


def test_iterative_dpo_makes_its_reward_model_first_and_learns_from_its_own_answers_round_by_round(letters, overridden):
    result = run_recipe("iterative-dpo", rounds=2)
    start, first, _ = result["rounds"]
    assert [row["n_samples"] for row in result["rounds"]] == [0, 64, 64]
    # 16 pairs of the round's own answers at most (equal answers make none), and the pair that a person put right
    assert 10 <= first["n_pairs"] <= 17
    assert [row["n_overrides"] for row in result["rounds"]] == [0, 1, 0], "learnt again in round 2"
    assert [row["n_overrides_replayed"] for row in result["rounds"]] == [0, 0, 1]
    loop = Loop.objects.get()
    assert (loop.state, loop.judge.name, loop.judge.kind) == ("done", "reward-model", "reward_model")
    rounds = list(Round.objects.order_by("index").select_related("output", "policy", "sampling_run__checkpoint"))
    assert rounds[1].sampling_run.checkpoint.name == "tiny"
    assert rounds[2].sampling_run.checkpoint == rounds[1].output == rounds[2].policy
    assert rounds[2].output.parent == rounds[1].output
    assert Job.objects.exclude(state="succeeded").count() == 0

    for snapshot in Snapshot.objects.all():
        for item in snapshot.items.select_related("comparison__prompt"):
            assert not item.comparison.held_out
            assert item.comparison.prompt.split == "train"
    corrected = SnapshotItem.objects.filter(comparison=overridden).order_by("id")
    assert [item.source.partition(":")[0] for item in corrected] == ["override"] * 3  # for the reward model, and twice
    assert all(item.p_first == 1 - item.p_first_without_overrides for item in corrected)

    assert start["gold_best_of_4"] >= start["gold_mean"]
    again = run_recipe("iterative-dpo", rounds=1)  # by the reward model that is there now
    assert repeatable(again) == repeatable(result)[:2]
    assert again["rounds"][1]["checkpoint"] != first["checkpoint"]
    twins = Checkpoint.objects.filter(name__in=[again["rounds"][1]["checkpoint"], first["checkpoint"]])
    assert len(twins) == 2
    assert len({checkpoint.fingerprint for checkpoint in twins}) == 1


def test_an_override_changes_what_dpo_is_trained_on_and_is_counted_and_the_set_is_frozen(letters, overridden):
    before = Verdict.objects.get(comparison=overridden).outcome
    result = run_recipe("dpo")
    assert result["rounds"][1]["n_overrides"] == 1
    snapshot = Snapshot.objects.get()
    assert (snapshot.n_overrides, snapshot.n_pairs) == (1, N_LABELLED)
    item = snapshot.items.get(comparison=overridden)
    assert item.p_first_without_overrides == float(before == "first")
    assert item.p_first == 1 - item.p_first_without_overrides
    row = {pair.id: pair for pair in read_pairs(store_path(snapshot.path))}[f"comparison:{overridden.pk}"]
    assert row.p_first == item.p_first
    assert row.label_ids == tuple(item.label_ids)
    assert any("override" in key for key in row.label_ids)
    others = snapshot.items.exclude(comparison=overridden)
    assert all(item.p_first == item.p_first_without_overrides for item in others)

    content = snapshot_export(snapshot)
    assert hashlib.sha256(content).hexdigest() == snapshot.sha256
    assert snapshot_export(snapshot) == content
    store_path(snapshot.path).write_bytes(content.replace(b"comparison:", b"Comparison:", 1))
    with pytest.raises(NothingToTrainOn, match="is not what was frozen"):
        snapshot_export(snapshot)


NOTHING = (Loop, Round, Job, Snapshot, SamplingRun)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run_recipe", "dpoo", "--project", "letters-test"], "no recipe 'dpoo'; there are: "),
        (["run_recipe", "dpo", "--project", "nowhere"], "no project 'nowhere'"),
        (["run_recipe", "dpo"], "--project is missing"),
        (["run_recipe", "dpo", "--project", "letters-test", "--set", "objective.bta=1"], "objective.bta"),
        (["run_recipe", "dpo", "--project", "letters-test", "--set", "objective.beta=much"], "objective.beta"),
        (["run_recipe", "dpo", "--project", "letters-test", "--set", "objective.beta=-1"], "objective.beta"),
        (["run_recipe", "dpo", "--project", "letters-test", "--set", "draws.n=4"], "draws.n"),
        (["run_recipe", "dpo", "--project", "letters-test", "--set", "objective.beta"], "part.key=value"),
        (["run_recipe", "dpo", "--project", "letters-test", "--rounds", "3"], "rounds must be 1, not 3"),
        (["run_recipe", "iterative-dpo", "--project", "letters-test", "--rounds", "0"], "between 1 and 1000, not 0"),
        (["run_recipe", "dpo", "--project", "letters-test", "--start", "lost"], "there are: tiny"),
        (
            ["run_recipe", "dpo", "--project", "letters-test", "--set", "label.judge=nobody"],
            "no judge 'nobody' in project letters-test; there are: world-preference",
        ),
        (["sample", "--checkpoint", "lost", "--prompts", "letters-train", "-n", "2"], "no policy 'lost'"),
        (["sample", "--checkpoint", "tiny", "--prompts", "lost", "-n", "2"], "'lost'"),
        (["sample", "--checkpoint", "tiny", "--prompts", "letters-train", "-n", "0"], "n must be between 1 and 1024"),
        (["sample", "--checkpoint", "tiny", "--prompts", "letters-train", "-n", "2", "--top-p", "0"], "top-p"),
        (["judge", "--judge", "nobody", "--project", "letters-test"], "there are: world-preference"),
        (["judge", "--judge", "world-preference", "--project", "nowhere"], "no project 'nowhere'"),
    ],
)
def test_bad_input_is_said_in_one_clear_line_and_leaves_nothing_behind(letters, words, complaint):
    with pytest.raises(CommandError) as caught:
        run(*words)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.returncode == 1
    assert not any(model.objects.exists() for model in NOTHING)


def test_describe_lists_every_key_without_a_project(db):
    keys = {row["key"]: row for row in json.loads(run("run_recipe", "iterative-dpo", "--describe", "--json"))}
    assert keys["objective.beta"]["default"] == CATALOGUE["iterative-dpo"].objective.beta
    assert {"prompts.n", "draws.n", "score.judge", "review.mode", "memory.kind", "objective.lr"} <= set(keys)
    assert "objective.beta = 0.1" in run("run_recipe", "dpo", "--describe")


def test_a_loop_without_labels_or_held_out_prompts_says_what_is_missing(make_letters_project):
    make_letters_project(n_labelled=0)
    with pytest.raises(CommandError, match="no comparison of the project has a label yet"):
        run_recipe("dpo")
    assert not Loop.objects.exists()


def test_sample_draws_n_answers_for_each_prompt_of_the_set_the_same_for_the_same_seed(letters):
    words = ["sample", "--checkpoint", "tiny", "--prompts", "letters-eval", "-n", "3", "--max-tokens", "16", "--json"]
    said = json.loads(run(*words))
    assert (said["checkpoint"], said["n_prompts"], said["n_samples"]) == ("tiny", 12, 36)

    def answers(run_id):
        rows = Completion.objects.filter(run=run_id).order_by("prompt_id", "index")
        return [(row.prompt_id, row.index, row.text, row.token_ids, row.logp_sum) for row in rows]

    first = answers(said["run"])
    assert [index for _, index, *_ in first] == [0, 1, 2] * 12
    assert all(len(ids) <= 16 and logp < 0 for *_, ids, logp in first)
    assert answers(json.loads(run(*words))["run"]) == first
    assert answers(json.loads(run(*words, "--seed", "1"))["run"]) != first


def test_judge_asks_once_and_a_second_time_finds_nothing_left(letters):
    words = ["judge", "--judge", "world-preference", "--project", "letters-test", "--json"]
    n = Comparison.objects.filter(project=letters).count()
    there = Verdict.objects.count()
    said = json.loads(run(*words))
    assert said["n_verdicts"] == {"ok": n - there}
    assert Verdict.objects.count() == n
    assert json.loads(run(*words))["n_verdicts"] == {}
    assert Verdict.objects.count() == n
    assert "none new" in run(*words[:-1])
