"""What “Compare on N prompts” asks: two policies, how many prompts, and who compares."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_list
from apps.projects.models import Project
from apps.training.rounds.evaluators import measurers

N_PROMPTS = 20


class MeetingForm(forms.Form):
    """Two policies of the project, how many prompts, and who compares."""

    first = forms.ModelChoiceField(Checkpoint.objects.none(), empty_label=None, label=_("First checkpoint"))
    second = forms.ModelChoiceField(Checkpoint.objects.none(), empty_label=None, label=_("Second checkpoint"))
    prompts = forms.IntegerField(initial=N_PROMPTS, min_value=1, max_value=10_000, label=_("Held-out prompts"))
    judge = forms.ChoiceField(required=False, label=_("Judge"))
    people = forms.IntegerField(initial=0, min_value=0, max_value=10_000, required=False, label=_("Pairs for people"))

    def __init__(self, project: Project, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        policies = checkpoint_list(project).filter(role="policy").order_by("-id")
        self.policies = list(policies)
        names = [judge.name for judge in measurers(project)]
        for name, at in (("first", 0), ("second", -1)):
            field = self.fields[name]
            field.queryset = policies  # type: ignore[attr-defined]
            field.initial = self.policies[at] if self.policies else None
        self.fields["judge"].choices = [  # type: ignore[attr-defined]
            ("", _("a judge that labelled the training data of neither")),
            *((name, name) for name in names),
        ]

    def meeting(self) -> dict[str, Any]:
        """The arguments of `meeting_start` besides the project and who starts it."""
        data = self.cleaned_data
        named = {name: data[name] for name in ("first", "second", "judge")}
        return {**named, "n_prompts": data["prompts"], "people": data["people"] or 0}
