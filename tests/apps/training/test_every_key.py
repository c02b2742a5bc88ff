"""Every setting that a loop takes changes what it plans: what it draws, keeps, compares, sends to people, trains on.

Each loop runs to its end on workers that make answers up, in a transaction that is rolled back, and is told by what it
leaves: two that leave the same did the same. What a training run makes of its spec is in
tests/prefloop/engine/test_every_key.py.
"""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from django.db import transaction
from django.utils import timezone

from apps.labels.models import Judge
from apps.labels.services import preferences_derive
from apps.policies.store import store_path
from apps.projects.services import criteria_know
from apps.prompts.models import Prompt, PromptSet
from apps.rankings.services import override_create
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, TrainingRun
from prefloop.config import describe
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.runspec import read_spec

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

NAMES = [name for name in CATALOGUE if name != "self-rewarding"]  # its own: test_self_rewarding.py
TOGETHER = 9  # tests; each makes the project once for several recipes
VERBATIM = {"objective", "adapter", "anchor"}  # these parts stand in the run's spec as they are
DECIDED_HERE = {"objective.reference", "objective.start_from", "objective.lambda of gkd"}
OTHER = {
    "prompts.n": 1,
    "prompts.sets": "some",
    "prompts.where": "topic=gifts and level<=2",
    "draws.engine": "vllm",
    "draws.source": "checkpoint:somebody",
    "draws.temperature": 0.5,
    "draws.top_p": 0.5,
    "draws.top_k": 7,
    "draws.max_tokens": 9,
    "refresh": {"iterative-dpo": "step", "online-ipo": "round", "online-bo2": "round", "": "every:2"},
    "score.judge": "scorer-2",
    "filter.kind": "rejection",
    "filter.beta": 1000.0,
    "filter.keep": 2,
    "filter.thresholds": "0.5,0.6",
    "label.judge": {
        "oaif-dpo": "scorer-2",
        "xpo": "scorer-2",
        "oaif-ipo": "scorer-2",
        "oaif-slic": "scorer-2",
        "": "other",
    },
    "label.criterion": "helpful",
    "label.labels": "sampled",
    "label.noise": 0.5,
    "review.mode": "sample",
    "review.budget": 1,
    "memory.k": {"rs-ft": 1, "": 2},
    "pairing.kind": "all-ranked",
    "memory.weight": 5.0,
    "memory.order": "logged",
    "objective.lambda": 1.0,
    "evaluation.judge": "scorer-3",  # one that can be asked, and that no loop takes unless it is named
    "evaluation.prompts": 1,
    "evaluation.every": 1,
}
WITH = {  # what a key waits for
    "filter.kind": {"filter.keep": 2},
    "filter.beta": {"filter.keep": 2},
    "review.budget": {"review.mode": "sample"},
    "memory.k": {"memory.kind": "rounds"},
    "memory.weight": {"memory.kind": "rounds"},
}
# Keys whose values can be read in a plan, each in its own place: those of a part are changed in one loop.
DRAWN = ("source", None, None, "temperature", "top_p", "top_k", "max_tokens", "engine")  # as `told_of` lists them
MEASURED = ("judge", "prompts", "n", None, "people")
SEVERAL_ROUNDS = ("memory", "objective.start_from", "objective.reference")
OF_A_LOOP = ("group", "prompts", "refresh", "score", "teach", "filter", "pairing", "label", "review", "memory", "needs")
BY_COINS = {"label.noise": 16, "label.labels": 16}  # seeds to try: four coins fall as before in one of sixteen


def ways():
    """Recipes by what a loop of them is made of; those of one entry differ in their loss and its numbers alone."""
    alike = {}
    for name in NAMES:
        recipe = CATALOGUE[name]
        parts = [getattr(recipe, part) for part in OF_A_LOOP]
        draws = [dataclasses.replace(one, n=1) for one in recipe.draws] if recipe.learns_in_steps else recipe.draws
        loss = recipe.objective.declared
        alike.setdefault(str((parts, draws, recipe.is_online, loss.rows, sorted(loss.needs))), []).append(name)
    return alike


@pytest.fixture
def full_project(loop_project, make_checkpoint, make_comparison, make_judge, make_verdict, make_vote, bob):
    """Stored labels of people and of two judges, a correction, two more reward models, another policy."""
    some = PromptSet.objects.create(project=loop_project, name="some")
    Prompt.objects.filter(project=loop_project, external_id__in=("t0", "t1", "t2", "e0")).update(
        prompt_set=some, metadata={"topic": "gifts", "level": 2}
    )
    make_checkpoint(loop_project, "somebody")
    for name in ("scorer-2", "scorer-3"):
        scorer = make_checkpoint(loop_project, f"weights-of-{name}", role="reward")
        Judge.objects.create(
            project=loop_project, name=name, kind="reward_model", checkpoint=scorer, order_policy="random"
        )
    critic, other = (make_judge(loop_project, name, order_policy="random") for name in ("critic", "other"))
    loop_project.label_judge = "critic"
    loop_project.save()
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")):
        for place in range(2):
            row = make_comparison(loop_project, (f"good {number} {place}", f"bad {number} {place}"), prompt=prompt)
            if number % 2 and not place:
                Completion.objects.filter(pk=row.first_id).update(finished=False)
            make_verdict(row, "first", judge=critic, p_first=0.6)
            make_verdict(row, "second", judge=other, p_first=0.1)
    voted = make_comparison(loop_project, ("kind", "rude"), prompt=prompt)
    make_vote(voted, "first")
    criteria_know(project=loop_project, label_judges={"helpful": ""})
    for one in (row, voted):
        make_vote(one, "second", criterion="helpful")
    override_create(
        comparison=row, judge=critic, user=bob, now=timezone.now(), kind="override", choice="second", reason="kinder"
    )
    preferences_derive(project=loop_project, now=timezone.now())
    return loop_project


@pytest.fixture
def plan(full_project, drive):
    """plan("rso", {"draws.n": 4}): what a loop of it leaves, without the numbers of rows, in plain values."""

    def make(name, settings, n_rounds, seed=0):
        with transaction.atomic():
            loop = loop_start(project=full_project, recipe=name, settings=settings, n_rounds=n_rounds, seed=seed)
            drive()
            loop.refresh_from_db()
            assert loop.state in ("done", "waiting"), loop.error
            told = told_of(loop)
            transaction.set_rollback(True)
        return told

    return make


def told_of(loop):
    rounds = []
    for round_ in loop.rounds.order_by("index"):
        run = round_.sampling_run
        pairs = Comparison.objects.filter(origin=f"loop:{loop.pk}:{round_.index}").select_related("prompt")
        rounds.append(
            {
                "drawn": run
                and [_plain(run.checkpoint.name), run.prompt_ids, run.n, run.temperature, run.top_p, run.top_k]
                + [run.max_tokens, run.engine],
                "pairs": [(one.prompt.external_id, one.first.index, one.second.index) for one in pairs.order_by("id")],
                "asked": len(round_.review_comparison_ids),
                "trained": [_run(one) for one in TrainingRun.objects.filter(round=round_).order_by("id")],
                "measured": _measured(round_.evaluation),
            }
        )
    return {"judge": loop.judge and loop.judge.name, "rounds": rounds}


def place_of(key, told):
    """The values in a plan that this key alone decides; None where they can't be told from those of other keys."""
    part, name = key.split(".")[0], key.split(".")[-1]
    if part == "evaluation":
        if name == "every":
            return [run["kept"] for round_ in told["rounds"] for run in round_["trained"]]
        return [round_["measured"] and round_["measured"][MEASURED.index(name)] for round_ in told["rounds"]]
    if part != "draws" or name not in DRAWN:
        return None
    if drawn := [round_["drawn"][DRAWN.index(name)] for round_ in told["rounds"] if round_["drawn"]]:
        return drawn
    online = [run["online"][0]["draws"] for round_ in told["rounds"] for run in round_["trained"] if run["online"]]
    number = int(key.split(".")[1]) if key.count(".") > 1 else 0
    return [draws[number].get(name) for draws in online]


def _measured(told):
    """Who is asked about how many answers to which prompts, and how many pairs people are given."""
    if not told:
        return None
    run = SamplingRun.objects.get(pk=told["answers"])
    return [told["by"], run.prompt_ids, run.n, len(told.get("initial") or ()), len(told.get("people") or ())]


def _run(run):
    spec = read_spec(store_path(run.run_dir))
    snapshot = store_path(run.snapshot.path).read_text("utf-8") if run.snapshot else ""
    rows = [json.loads(line) for line in snapshot.splitlines()]
    for row in rows:
        row.pop("id"), row.pop("label_ids")
    online = spec.online and (spec.online.settings(), spec.online.replay, spec.online.reward_model)
    return {
        "kind": run.kind,
        "start": _plain(run.start.name),
        "reference": run.reference and _plain(run.reference.name),
        "objective": spec.objective,
        "adapter": spec.adapter,
        "online": online,
        "prompts": (store_path(run.run_dir) / "prompts.jsonl").read_text() if spec.online else "",
        "rows": _plain(json.dumps(rows)),
        "kept": [one.step for one in run.kept_steps.order_by("step")],
    }


def _plain(text):
    return re.sub(r"-\d+-round-(\d+)(-\d+)?", r"-round-\1", re.sub(r"of run \d+|made-\d+", "", text))


def other(name, info):
    """A valid value other than the default, and what has to be set with it."""
    bare = ".".join(part for part in info.key.split(".") if not part.isdigit())
    value = OTHER.get(bare)
    if isinstance(value, dict):
        value = value.get(name, value[""])
    if value is None or value == info.default or (info.choices and not info.prefixes and value not in info.choices):
        if info.choices:
            value = next((one for one in info.choices if one != info.default), "checkpoint:somebody")
        else:
            value = int(info.default) + 1
    return value


@pytest.mark.parametrize("part", range(TOGETHER))
def test_every_key_of_a_recipe_changes_what_its_loop_plans(plan, drive, full_project, part):
    """Keys that do not depend on the loss are changed in one recipe of those that differ in their loss alone."""
    first = {same[0] for same in ways().values()}
    without_effect = {}
    for name in NAMES[part::TOGETHER]:
        with transaction.atomic():
            without_effect[name] = keys_without_effect(plan, drive, full_project, name, name in first)
            transaction.set_rollback(True)
    assert {name: keys for name, keys in without_effect.items() if keys} == {}


def keys_without_effect(plan, drive, full_project, name, all_keys):
    recipe = CATALOGUE[name]
    usual = {"draws.n": 3, "prompts.n": 4, "objective.batch": 2, "filter.thresholds": "0.2,0.5"}
    if recipe.memory.kind == "replay":
        for _ in range(2):  # two loops to choose from
            logged(
                loop_start(project=full_project, recipe=recipe.needs[0], settings={"prompts.n": 4}, n_rounds=1), drive
            )
    if recipe.objective.needs("teacher"):
        usual |= {"draws.n": 1, "objective.reference": "checkpoint:somebody"}
    if recipe.pairing.kind == "the-two":
        usual |= {"draws.n": 2}
    keys = {info.key: info for info in describe(recipe)}
    usual = {key: value for key, value in usual.items() if key in keys}
    begun, without_effect = {}, []
    usually, together = plan(name, usual, 1), {}
    begun[tuple(usual.items()), 1] = usually
    for info in keys.values():
        if not all_keys and info.group not in VERBATIM:
            continue
        if info.group in VERBATIM and info.key not in DECIDED_HERE and f"{info.key} of {name}" not in DECIDED_HERE:
            continue
        if (len(info.choices) == 1 and not info.prefixes) or info.key == "prompts.generator":
            continue  # nothing else to choose; who writes prompts is in test_self_rewarding.py
        beside = {key: value for key, value in WITH.get(info.key, {}).items() if keys[info.key].default != value}
        if recipe.learns_in_steps and "memory.kind" in beside:
            beside = {"memory.kind": "overrides"}
        newest = "" if info.key != "memory.run" else str(Loop.objects.filter(recipe=recipe.needs[0]).earliest("pk").pk)
        chosen, before = {**beside, info.key: newest or other(name, info)}, {**usual, **beside}
        if info.key == "filter.kind" and recipe.filter.kind != "rejection":
            before = usual
        elif info.key == "filter.kind":
            before, chosen = usual | {"filter.keep": 2}, {"filter.kind": "all"}
        elif recipe.pairing.kind == "the-two" and info.key in ("draws.n", "pairing.kind"):
            four = {"draws.n": 4, "pairing.kind": "first-round"}
            ranked = info.key == "pairing.kind" and "all-ranked" in info.choices
            before, chosen = (usual | four, {"pairing.kind": "all-ranked"}) if ranked else (usual, four)
        n_rounds = 3 if info.key.startswith(SEVERAL_ROUNDS) and recipe.group != "offline" else 1
        if before == usual and n_rounds == 1 and len(chosen) == 1 and place_of(info.key, usually) is not None:
            together |= chosen
            continue
        told = (tuple(before.items()), n_rounds)
        begin = begun[told] = begun.get(told) or plan(name, before, n_rounds)
        if chosen.get("filter.kind") == "all":
            before = usual
        if info.key == "filter.kind":
            before = {key: value for key, value in before.items() if key != "filter.thresholds"}
        changes = plan(name, before | chosen, n_rounds) != begin
        for seed in range(1, BY_COINS.get(info.key, 0)):
            changes = changes or plan(name, before | chosen, n_rounds, seed) != plan(name, before, n_rounds, seed)
        if not changes:
            without_effect.append(str(chosen))
        for run in (run for round_ in begin["rounds"] for run in round_["trained"] if run["kind"] == recipe.run_kind):
            assert run["adapter"] == recipe.adapter
    at_once = plan(name, usual | together, 1)
    without_effect += [f"{key}={together[key]}" for key in together if place_of(key, at_once) == place_of(key, usually)]
    return without_effect


def logged(loop, drive):
    """Let an online loop be done, its run's log and end where a replay looks for them."""
    drive()
    for run in TrainingRun.objects.filter(round__loop=loop):
        (store_path(run.run_dir) / "events.jsonl").write_text("", "utf-8")


@pytest.mark.parametrize("name", ["dpo", "oaif-dpo", "rlhf", "iterative-bond"])
def test_a_loop_does_the_same_again(plan, name):
    keys = {info.key for info in describe(CATALOGUE[name])}
    usual = {key: value for key, value in {"prompts.n": 3, "objective.batch": 2}.items() if key in keys}
    assert plan(name, usual, 1) == plan(name, usual, 1)
    assert SamplingRun.objects.count() == 0
