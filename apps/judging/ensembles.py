"""Ensembles: judges made of judges, by majority, or weighted by their agreement with people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.judging.figures import Figures, judge_figures
from apps.judging.services import BadJudge, check_joint
from apps.labels.models import Judge
from apps.projects.models import Project
from prefloop.judging.ensemble import weight_of_agreement
from prefloop.judging.kinds import MEMBER

RULES = ("majority", "weighted")


def ensemble_options(*, project: Project, members: Sequence[Judge], rule: str) -> dict[str, Any]:
    """Say in plain values how these judges decide together. Weights are measured now: settings never change.

    Raises BadJudge: fewer than two members, the same twice, an ensemble within one, several
    criteria, or weights with nothing measured.
    """
    if rule not in RULES:
        raise BadJudge(f"an ensemble decides by {' or '.join(RULES)}, not by {rule!r}")
    if len({member.pk for member in members}) != len(members) or len(members) < 2:
        raise BadJudge("an ensemble needs two or more different judges")
    for member in members:
        if member.project_id != project.pk:
            raise BadJudge(f"judge {member.name!r} is not of project {project.slug}")
        check_joint(member, MEMBER)
        if member.criterion_name != members[0].criterion_name:
            raise BadJudge("the judges of an ensemble judge by one criterion, and these by several")
    options: dict[str, Any] = {"members": [member.pk for member in members], "rule": rule}
    if rule == "weighted":
        options |= _measured(project, members)
    return options


def _measured(project: Project, members: Sequence[Judge]) -> dict[str, Any]:
    figures = judge_figures(project)
    weights, agreement = {}, {}
    for member in members:
        share = figures.get(member.pk, Figures()).agreement
        n_right = 0.0 if share.rate is None else share.rate * share.n
        weights[str(member.pk)] = weight_of_agreement(n_right, share.n)
        agreement[str(member.pk)] = {"n": share.n, "rate": share.rate}
    if not any(weights.values()):
        raise BadJudge("none of these judges has been shown to agree with people more than chance: label more first")
    return {"weights": weights, "agreement": agreement}
