"""What every recipe does on one small project, number by number: a change of the code may not change it unseen.

A run in float64 draws the same answers on any processor, since sums in another order differ by far less than what lies
between two draws. Kept in `recipes.json`: the jobs in their order, the answers' token ids, what was trained on, losses,
and the norms of the weights. Write the file anew, after a change that is meant, with GOLDEN_RECORD=1.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from safetensors.torch import load_file

from apps.jobs.models import Job
from apps.policies.store import store_path
from apps.samples.models import Completion
from apps.training.models import Loop, Metric, TrainingRun
from prefloop.config import apply_settings, describe
from prefloop.recipes.catalogue import CATALOGUE

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

FILE = Path(__file__).with_name("recipes.json")
RECORDS = os.environ.get("GOLDEN_RECORD") == "1"
TOLERANCE = 1e-5  # above what a step's scores lose in float32 (2e-6 was seen), far below any change of a method
SMALL = {"prompts.n": "8", "draws.n": "4", "draws.max_tokens": "16", "objective.batch": "4"}
OWN: dict[str, dict[str, str]] = {
    "spin": {"draws.n": "1"},
    "gkd": {"objective.reference": "initial"},
    "self-rewarding": {
        "prompts.n": "16",
        "draws.max_tokens": "48",
        "teach.eft": "160",
        "teach.ift": "8",
        "teach.writing": "80",
        "teach.lr": "4e-3",
        "objective.batch": "8",
    },
}
REPLAYED = {"tandem-ipo": "online-ipo", "tandem-bo2": "online-bo2"}
FIRST = REPLAYED | {"on-policy-distillation": "dpo"}  # its teacher
PLACES = {"checkpoint", "reward_model", "seconds", "peak_memory_mb"}  # of a round: what differs elsewhere


def golden(name: str) -> dict[str, Any]:
    """Run the recipe to its end and gather what it left. What it builds on is run first and not gathered."""
    if name in FIRST:
        run(FIRST[name])
    first_job = Job.objects.order_by("-id").values_list("id", flat=True).first() or 0
    rounds = run(name)
    loop = Loop.objects.latest("pk")
    runs = TrainingRun.objects.filter(round__loop=loop).order_by("id").select_related("snapshot", "output")
    return {
        "jobs": list(Job.objects.filter(id__gt=first_job).order_by("id").values_list("kind", flat=True)),
        "rounds": [{key: value for key, value in row.items() if key not in PLACES} for row in rounds],
        "answers": answers(loop),
        "runs": [
            {
                "kind": one.kind,
                "rows": rows_of(one),
                "metrics": [values for values in Metric.objects.filter(run=one).order_by("step").values_list("values")],
                "norms": norms(one),
            }
            for one in runs
        ],
    }


def run(name: str) -> list[dict[str, Any]]:
    recipe = CATALOGUE[name]
    keys = {info.key for info in describe(recipe)}
    small = {} if name in REPLAYED else SMALL  # a replay takes the steps as they were
    if recipe.pairing.kind == "the-two" and small:
        small = small | {"draws.n": "2"}
    if recipe.objective.needs("teacher"):
        small = small | {"draws.n": "1"}
    chosen = {key: value for key, value in (small | OWN.get(name, {})).items() if key in keys}
    apply_settings(recipe, chosen)
    words = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    out = io.StringIO()
    call_command("run_recipe", name, "--project", "golden", "--rounds", 1, "--seed", 5, "--json", *words, stdout=out)
    rounds: list[dict[str, Any]] = json.loads(out.getvalue())["rounds"]
    return rounds


def answers(loop: Loop) -> dict[str, Any]:
    """The token ids of all answers that were drawn for the loop, by question, and their log-probs added up."""
    drawn = Completion.objects.filter(project=loop.project, run__isnull=False).order_by(
        "run_id", "prompt__external_id", "index"
    )
    rows = [(row.prompt.external_id, row.index, row.token_ids) for row in drawn.select_related("prompt")]
    return {
        "n": len(rows),
        "ids": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "logp_sum": sum(row.logp_sum or 0.0 for row in drawn),
    }


def rows_of(one: TrainingRun) -> dict[str, Any] | None:
    """The training set: a hash of its texts in their order, and its labels and weights as numbers."""
    if one.snapshot is None:
        return None
    digest, numbers = hashlib.sha256(), []
    lines = store_path(one.snapshot.path).read_text("utf-8").splitlines()
    for line in lines:
        row = json.loads(line)
        texts = {key: row[key] for key in sorted(row) if key in TEXTS}
        digest.update(json.dumps(texts).encode())
        numbers += [row[key] for key in ("p_first", "weight", "scores") if key in row]
    return {"n": len(lines), "texts": digest.hexdigest(), "numbers": numbers}


TEXTS = {
    "prompt",
    "first",
    "second",
    "completion",
    "completions",
    "target",
    "first_ids",
    "second_ids",
    "completion_ids",
}


def norms(one: TrainingRun) -> dict[str, float] | None:
    """The norm of every tensor of the result, in the order of their names, and of all that moved from the start."""
    if one.output is None or one.start is None:
        return None
    made, start = (load_file(store_path(x.path) / "model.safetensors") for x in (one.output, one.start))
    moved = sum(float((made[key].double() - start[key].double()).square().sum()) for key in made.keys() & start.keys())
    return {"all": sum(float(value.double().square().sum()) for value in made.values()) ** 0.5, "moved": moved**0.5}


def differences(found: Any, kept: Any, at: str = "") -> list[str]:
    """Say where two results differ: texts, counts and hashes exactly, other numbers by more than the tolerance."""
    if isinstance(kept, dict) and isinstance(found, dict):
        missing = [f"{at}.{key}: only in one" for key in kept.keys() ^ found.keys()]
        return missing + [
            line for key in kept.keys() & found.keys() for line in differences(found[key], kept[key], f"{at}.{key}")
        ]
    if isinstance(kept, list) and isinstance(found, list):
        if len(kept) != len(found):
            return [f"{at}: {len(found)} where {len(kept)} were kept"]
        pairs = enumerate(zip(found, kept, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, f"{at}[{index}]")]
    if isinstance(kept, float) and isinstance(found, int | float):
        close = found == pytest.approx(kept, rel=TOLERANCE, abs=TOLERANCE)
        return [] if close else [f"{at}: {found!r} where {kept!r} was kept"]
    return [] if found == kept else [f"{at}: {found!r} where {kept!r} was kept"]


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_recipe_does_what_it_did(golden_project: Any, name: str) -> None:
    found = json.loads(json.dumps(golden(name)))
    kept = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    if RECORDS:
        kept[name] = found
        FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return
    assert name in kept, "record it first: GOLDEN_RECORD=1"
    assert differences(found, kept[name]) == []
