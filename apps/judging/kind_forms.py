"""The form of each kind of judge that people can make; that of a policy of the project is in this file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.judging.forms import JudgeForm, LlmJudgeForm
from apps.labels.models import Judge, mode_choices
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from prefloop.judging.kinds import KINDS, POLICY, Kind


class PolicyJudgeForm(JudgeForm):
    kind = POLICY
    checkpoint = forms.ModelChoiceField(label=_("Policy"), queryset=Checkpoint.objects.none(), empty_label=None)
    criterion = LlmJudgeForm.base_fields["criterion"]
    mode = forms.ChoiceField(label=_("How it answers"), choices=mode_choices, initial="logprob")
    order_policy = LlmJudgeForm.base_fields["order_policy"]
    temperature = forms.FloatField(label=_("Temperature"), min_value=0, max_value=2, initial=0.0)
    samples = forms.IntegerField(label=_("Grades of one answer"), min_value=1, max_value=POLICY.most_samples, initial=3)
    max_tokens = forms.IntegerField(label=_("Longest reply, in tokens"), min_value=1, max_value=32_768, initial=512)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = Checkpoint.objects.filter(project=self.project, role="policy").order_by("-is_default", "-id")
        self.fields["checkpoint"].queryset = policies  # type: ignore[attr-defined]
        self.fields["temperature"].widget.attrs.update(step="any", inputmode="decimal")

    @staticmethod
    def initial_of(judge: Judge) -> dict[str, Any]:
        names = ("criterion", "mode", "order_policy")
        return {**judge.options, **{name: getattr(judge, name) for name in names}, "checkpoint": judge.checkpoint_id}

    @staticmethod
    def initial_for(project: Project) -> dict[str, Any]:
        return {"criterion": project.criterion}

    def settings(self) -> dict[str, Any]:
        data = self.cleaned_data
        kept = dict(self.judge.options) if self.judge is not None else {}
        return {
            **{name: data[name] for name in ("checkpoint", "criterion", "mode", "order_policy")},
            "template": self.judge.template if self.judge is not None and self.judge.mode == data["mode"] else "",
            "options": kept | {name: data[name] for name in ("temperature", "samples", "max_tokens")},
        }


# in the order in which kinds are declared
FORMS: dict[str, type[JudgeForm]] = {
    name: form for name in KINDS for form in JudgeForm.__subclasses__() if form.kind.name == name
}


def offered(project: Project) -> list[Kind]:
    """The kinds of judge that people can make in this project."""
    return [form.kind for form in FORMS.values() if project.world or not form.kind.world]
