"""The report on reward models: how often they are right, how well calibrated they are, and what they lean to.

The figures are those of the agreement report, of a project's reward models alone, on all of its labelled pairs or on
those of one prompt set. A reward model judges stored pairs as any judge does; its verdicts are read here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from apps.labels import columns
from apps.labels.models import Judge
from apps.labels.selectors import judge_names
from apps.projects.models import Project
from apps.prompts.models import PromptSet
from apps.reports import selectors
from prefloop.judging.kinds import KINDS
from prefloop.stats import reward_bench
from prefloop.stats.columns import AgreementColumns
from prefloop.stats.judge_report import JudgeRows, group_accuracy, rows_by_judge
from prefloop.stats.people import truth_of
from prefloop.stats.report import agreement_report_of_columns
from prefloop.types import PrefloopError

REWARD_KINDS = [kind.name for kind in KINDS.values() if kind.weights == "reward"]
MOST_SLICES = 40
N_BOOTSTRAP = 1000
Report = dict[str, Any]


class NoSuchPart(PrefloopError):
    """A prompt set, or a key of metadata, that the project's labelled pairs do not have."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is made of: the pairs of a prompt set ("" all), split by a key of metadata ("" not at all)."""

    set: str = ""
    key: str = ""


def reward_models_report(project: Project, asked: Asked = Asked(), *, seed: int = 0) -> Report:
    """Build the report: {"project", "set", "key", "sets", "keys", "n_truth", "models"}. Raises NoSuchPart."""
    sets = list(PromptSet.objects.filter(project=project).order_by("name").values_list("name", flat=True))
    if asked.set and asked.set not in sets:
        raise NoSuchPart(f"no prompt set {asked.set!r}; there are: {', '.join(sets)}")
    pairs = _pairs(project, asked.set)
    names = judge_names(project)
    coded = columns.agreement_columns(project, names, pairs=pairs, verdicts=_verdicts(project, pairs))
    keys = selectors.slice_keys(pairs.id) if len(pairs.id) else []
    if asked.key and asked.key not in keys:
        raise NoSuchPart(f"no metadata {asked.key!r}; there is: {', '.join(keys)}")
    report = agreement_report_of_columns(project=project.slug, columns=coded, n_bootstrap=N_BOOTSTRAP, seed=seed)
    rows = {coded.judges[one.code]: one for one in rows_by_judge(coded)}
    parts = {key: selectors.slices(project, key, pairs.id, most=MOST_SLICES) for key in _split_by(asked.key, keys)}
    return {
        "project": project.slug,
        "set": asked.set,
        "key": asked.key,
        "sets": sets,
        "keys": keys,
        "n_truth": report["baselines"]["n_truth"],
        "models": [_model(judge, rows[judge["name"]], coded, parts, asked.key) for judge in report["judges"]],
    }


def _split_by(key: str, keys: list[str]) -> set[str]:
    return {name for name in (key, reward_bench.KEY) if name and name in keys}


def _pairs(project: Project, prompt_set: str) -> columns.Pairs:
    pairs = columns.pairs_of(project)
    if not prompt_set:
        return pairs
    of_set = columns.comparisons_of(project).filter(prompt__prompt_set__name=prompt_set)
    kept = np.isin(pairs.id, np.fromiter(of_set.values_list("id", flat=True), dtype=np.int64))
    arrays = {one.name: getattr(pairs, one.name)[kept] for one in fields(pairs) if one.name not in ("models", "rounds")}
    return replace(pairs, **arrays)


def _verdicts(project: Project, pairs: columns.Pairs) -> columns.Said:
    """The verdicts of reward models alone."""
    said = columns.verdicts_of(project, pairs)
    ids = list(Judge.objects.filter(project=project, kind__in=REWARD_KINDS).values_list("id", flat=True))
    kept = np.isin(said.who, np.array(ids, dtype=np.int64))
    names = ("item", "who", "order", "outcome", "sample", "p")
    return replace(said, **{name: getattr(said, name)[kept] for name in names})


def _model(
    judge: Report, rows: JudgeRows, coded: AgreementColumns, parts: dict[str, selectors.Slices], key: str
) -> Report:
    """What the report says of one reward model."""
    truth = truth_of(coded)
    sliced = {name: group_accuracy(rows, truth, part.place, part.values) for name, part in parts.items()}
    soft = judge["calibration"] or {}
    categories = reward_bench.category_scores(sliced.get(reward_bench.KEY, ()))
    return {
        "name": judge["name"],
        "n": judge["n"],
        "accuracy": judge["accuracy"],
        "accuracy_ci95": judge["accuracy_ci95"],
        "calibration": judge["calibration"],
        "ece": soft.get("ece"),
        "brier": soft.get("brier"),
        "longer_preferred": judge["longer_preferred"] | {"ci95": judge["longer_preferred_ci95"]},
        "first_slot": judge["first_slot"],
        "order_consistency": judge["order_consistency"],
        "slices": sliced.get(key, []),
        "reward_bench": categories,
        "reward_bench_score": sum(c["rate"] for c in categories) / len(categories) if categories else None,
    }
