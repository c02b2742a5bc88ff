"""Results of evaluations for the page of policies, whose app is below this one."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.utils.translation import gettext as _

from apps.projects.models import Project
from apps.training.lineage.figures import FIGURES
from apps.training.lineage.measured import Figure, Measured, in_short, in_words, measured_of

register = template.Library()


@dataclass(frozen=True, slots=True)
class MeasuredCheckpoints:
    by_id: dict[int, Measured]
    columns: tuple[tuple[str, str, str], ...]  # of which something is known: key, term, head


@register.simple_tag
def measured_checkpoints(project: Project) -> MeasuredCheckpoints:
    """Gather what was measured of the project's checkpoints."""
    by_id = measured_of(project)
    known = {figure.key for one in by_id.values() for figure in one.figures}
    shown = [figure for figure in FIGURES if figure.head and figure.key in known]
    return MeasuredCheckpoints(by_id, tuple((one.key, one.head.lower(), _(one.head)) for one in shown))


@register.filter
def short_of(found: MeasuredCheckpoints, checkpoint_id: int) -> str:
    """Write a checkpoint's figures for its node in the lineage; empty if nothing was measured."""
    one = found.by_id.get(checkpoint_id)
    return in_short(one) if one is not None else ""


@register.filter
def words_of(found: MeasuredCheckpoints, checkpoint_id: int) -> str:
    """Write a checkpoint's figures in full, with their intervals and the round that measured them."""
    one = found.by_id.get(checkpoint_id)
    if one is None:
        return ""
    figures = ", ".join(f"{figure.name} {in_words(figure)}" for figure in one.figures)
    return _("round %(round)d of loop %(loop)d: ") % {"round": one.round, "loop": one.loop_id} + figures


@register.simple_tag
def figure_of(found: MeasuredCheckpoints, checkpoint_id: int, key: str) -> Figure | None:
    """Look up one figure of a checkpoint."""
    one = found.by_id.get(checkpoint_id)
    return one.figure(key) if one is not None else None
