"""The next step of a project: from prompts to answers, comparisons, labels and a loop. Pages and commands say it."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.policies.selectors import checkpoint_default, endpoint_list
from apps.projects.models import Project
from apps.prompts.models import Prompt, ready
from apps.samples.models import Comparison, Completion
from apps.samples.pairs import n_comparable


@dataclass(frozen=True, slots=True)
class Step:
    label: str
    path: str  # with the project's own


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What the project has and lacks, in a sentence, and where to go on: the most useful place first."""

    sentence: str
    steps: tuple[Step, ...]


def next_steps(project: Project) -> NextSteps | None:
    """Return the next steps; None where there are no prompts yet."""
    home = f"/p/{project.slug}"
    n_prompts = Prompt.objects.filter(ready(), project=project).count()
    if not n_prompts:
        return None
    comparisons = Comparison.objects.filter(project=project, held_out=False)
    n_labels = comparisons.filter(preferences__criterion="", preferences__outcome__in=("first", "second")).count()
    if n_labels:
        sentence = ngettext("%(n)s comparison has a label.", "%(n)s comparisons have a label.", n_labels)
        return NextSteps(
            sentence % {"n": f"{n_labels:,}"} + " " + _("Train on them, or label more."),
            (Step(_("Start a loop"), f"{home}/loops/new/"), Step(_("Annotate"), f"{home}/annotate/")),
        )
    if n := Completion.objects.filter(project=project, prompt__split="train", scores__flag=True).distinct().count():
        sentence = ngettext("%(n)s answer has a flag.", "%(n)s answers have a flag.", n)
        return NextSteps(
            sentence % {"n": f"{n:,}"} + " " + _("KTO learns from single answers."),
            (Step(_("Start a loop"), f"{home}/loops/new/kto/"), Step(_("Answers"), f"{home}/samples/")),
        )
    if n := comparisons.count():
        sentence = ngettext("%(n)s comparison has no label yet.", "%(n)s comparisons have no label yet.", n)
        return NextSteps(
            sentence % {"n": f"{n:,}"} + " " + _("People or a judge can label them."),
            (Step(_("Annotate"), f"{home}/annotate/"), Step(_("Ask a judge"), f"{home}/judges/")),
        )
    if n := n_comparable(project):
        sentence = ngettext(
            "%(n)s prompt has answers that are not paired yet.",
            "%(n)s prompts have answers that are not paired yet.",
            n,
        )
        return NextSteps(sentence % {"n": f"{n:,}"}, (Step(_("Make comparisons"), f"{home}/annotate/"),))
    sentence = ngettext(
        "%(n)s prompt has no two answers to compare.", "%(n)s prompts have no two answers each.", n_prompts
    )
    said = sentence % {"n": f"{n_prompts:,}"} + " "
    if checkpoint_default(project, "policy") is None and not endpoint_list(project).exists():
        return NextSteps(
            said + _("Bring a model in, which then answers them."),
            (
                Step(_("Import a model"), f"{home}/policies/import/"),
                Step(_("Add an endpoint"), f"{home}/policies/endpoints/new/"),
            ),
        )
    return NextSteps(
        said + _("A model of the project can answer them."), (Step(_("Sample answers"), f"{home}/samples/new/"),)
    )


def in_a_line(found: NextSteps) -> str:
    """Write the next steps for a terminal."""
    return f"Next: {found.sentence} " + "; ".join(f"{step.label}: {step.path}" for step in found.steps)
