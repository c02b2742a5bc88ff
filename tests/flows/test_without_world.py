"""Every recipe that trains a policy, on a project without a world: a small round ends with a win rate.

The policy is a model's directory as anybody has one, the labels came with an import, and who measures is a language
model (the simulated judge) that labelled none of them. One project for all recipes: what one loop makes, a reward model
say, is there for the next, and the start's answers are drawn once.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import call_command

from apps.judging.services import judge_create
from apps.labels.models import Judge, JudgingRun, Score
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.samples.models import Completion, SamplingRun
from prefloop.config import apply_settings, describe
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.worlds.letters import eft
from prefloop.worlds.letters.utility import parts
from workers import score_prompts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400), pytest.mark.django_db(transaction=True)]

SLUG = "letters-test"
NAMES = [name for name, recipe in CATALOGUE.items() if "evaluation" not in recipe.hidden()]
SMALL = {
    "prompts.n": 8,
    "draws.n": 4,
    "draws.max_tokens": 16,
    "objective.batch": 4,
    "objective.epochs": 1,
    "evaluation.n": 2,
}
OWN: dict[str, dict[str, Any]] = {
    "spin": {"draws.n": 1},
    "gkd": {"draws.n": 1, "objective.reference": "initial"},
    "on-policy-distillation": {"draws.n": 1, "objective.reference": "initial"},
    "self-rewarding": {
        "prompts.n": 16,
        "draws.max_tokens": 48,
        "teach.eft": 160,
        "teach.ift": 8,
        "teach.writing": 80,
        "teach.lr": "4e-3",
        "objective.batch": 8,
    },
}


@pytest.fixture
def plain_project(make_letters_project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Letters without their world: its verdicts came from elsewhere, and a language model wrote grades of answers."""
    project = make_letters_project(SLUG, n_train=96, n_eval=6, n_labelled=96)
    project.world = ""
    project.save()
    Judge.objects.filter(project=project).update(kind="imported")
    endpoint = endpoint_create(
        project=project, name="model", base_url=f"{SIMULATED_SCHEME}letters", model="simulated-judge", is_simulated=True
    )
    told = {"kind": "llm", "endpoint": endpoint, "criterion": "Kind and correct.", "is_simulated": True}
    judge_create(project=project, name="critic", mode="logprob", **told)
    grader = judge_create(project=project, name="grader", mode="additive", **told)
    for row in Completion.objects.filter(project=project, prompt__split="train").select_related("prompt"):
        found = parts(row.prompt.text, row.text)
        Score.objects.create(
            judge=grader, completion=row, value=eft.score_of(found.total), raw=eft.judgement(row.text, found)
        )
    # so small a model learns to judge in few words only
    monkeypatch.setattr(score_prompts, "score_prompt_of", lambda world: eft.score_prompt)
    return project


def run(name: str) -> dict[str, Any]:
    recipe = CATALOGUE[name]
    keys = {info.key for info in describe(recipe)}
    wanted = (SMALL | {"draws.n": 2} if recipe.pairing.kind == "the-two" else SMALL) | OWN.get(name, {})
    if recipe.memory.kind == "replay":
        wanted = {"evaluation.n": 2}
    chosen = {key: value for key, value in wanted.items() if key in keys}
    apply_settings(recipe, chosen)
    words = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    out = io.StringIO()
    call_command("run_recipe", name, "--project", SLUG, "--rounds", 1, "--seed", 5, "--json", *words, stdout=out)
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def test_every_recipe_ends_a_round_with_a_win_rate_by_a_judge_that_did_not_label_it(plain_project: Any) -> None:
    wrong = {}
    for name in sorted(NAMES, key=lambda name: (CATALOGUE[name].memory.kind == "replay", name)):
        try:
            told = run(name)
        except Exception as error:  # noqa: BLE001 - all of them are told at the end
            wrong[name] = str(error)
            continue
        start, end = told["rounds"]
        low, high = end["win_rate_ci95"] or (None, None)
        if told["evaluation"] != {"judge": "critic", "independent": True} or end["measured_by"] != "critic":
            wrong[name] = f"measured by {told['evaluation']}"
        elif low is None or not low <= end["win_rate_vs_initial"] <= high or not low < high:
            wrong[name] = f"a win rate of {end['win_rate_vs_initial']} [{low}, {high}]"
        elif (start["win_rate_vs_initial"], start["win_rate_ci95"], end["gold_mean"]) != (0.5, [0.5, 0.5], None):
            wrong[name] = f"a start at {start['win_rate_vs_initial']}, gold {end['gold_mean']}"
        elif end["kl"] <= 0:
            wrong[name] = "it has not moved"
    assert wrong == {}
    assert {run.judge.name for run in JudgingRun.objects.filter(purpose="evaluation")} == {"critic"}
    starts = SamplingRun.objects.filter(purpose="evaluation", checkpoint__name="tiny")
    assert starts.values("seed", "n", "max_tokens").distinct().count() == starts.count()
