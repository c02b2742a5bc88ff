"""Judges made of judges: by majority, or weighted by how far each was seen to agree with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.judging.figures import Figures, judge_figures
from apps.judging.models import Judge, JudgeKind
from apps.judging.services import BadJudge, judge_create
from apps.projects.models import Project
from prefloop.judging.ensemble import MemberLabel, majority, weight_of_agreement, weighted
from prefloop.judging.verdicts import EffectiveLabel
from prefloop.types import LabelledVerdict, Outcome, VerdictState

RULES = ("majority", "weighted")


def ensemble_create(*, project: Project, name: str, members: Sequence[Judge], rule: str = "majority") -> Judge:
    """Make a judge of judges, or its next version. Weights are measured now and kept: settings never change.

    Raises BadJudge: fewer than two members, the same twice, an ensemble within one, or weights with nothing measured.
    """
    if rule not in RULES:
        raise BadJudge(f"an ensemble decides by {' or '.join(RULES)}, not by {rule!r}")
    if len({member.pk for member in members}) != len(members) or len(members) < 2:
        raise BadJudge("an ensemble needs two or more different judges")
    for member in members:
        if member.project_id != project.pk:
            raise BadJudge(f"judge {member.name!r} is not of project {project.slug}")
        if member.kind in (JudgeKind.ENSEMBLE, JudgeKind.IMPORTED):
            raise BadJudge(f"judge {member.name!r} can't be a member: it can't be asked by itself")
    options: dict[str, Any] = {"members": [member.pk for member in members], "rule": rule}
    if rule == "weighted":
        options |= _measured(project, members)
    return judge_create(project=project, name=name, kind=JudgeKind.ENSEMBLE, options=options)


def _measured(project: Project, members: Sequence[Judge]) -> dict[str, Any]:
    figures = judge_figures(project)
    weights, agreement = {}, {}
    for member in members:
        share = figures.get(member.pk, Figures()).agreement
        n_right = 0.0 if share.rate is None else share.rate * share.n
        weights[str(member.pk)] = weight_of_agreement(n_right, share.n)
        agreement[str(member.pk)] = {"n": share.n, "rate": share.rate}
    if not any(weights.values()):
        raise BadJudge("none of these judges was seen to agree with people more than a coin would: label more first")
    return {"weights": weights, "agreement": agreement}


def ensemble_label(
    judge: Judge, labels: Mapping[Judge, tuple[VerdictState, Outcome | None, float | None]]
) -> LabelledVerdict:
    """Give what an ensemble's members come to, and in words what each said."""
    weights = judge.options.get("weights", {})
    members = [
        MemberLabel(EffectiveLabel(*label), float(weights.get(str(member.pk), 1.0))) for member, label in labels.items()
    ]
    made = (weighted if judge.options["rule"] == "weighted" else majority)(members)
    said = ", ".join(f"{member.name}: {label[1] or label[0]}" for member, label in labels.items())
    return LabelledVerdict(state=made.state, outcome=made.outcome, p_first=made.p_first, rationale=said)
