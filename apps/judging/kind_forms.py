"""The form of each kind of judge that people can make; those of a policy and of an ensemble are in this file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.judging.ensembles import RULES as WAYS_TO_DECIDE
from apps.judging.ensembles import ensemble_options
from apps.judging.forms import JudgeForm, LlmJudgeForm
from apps.labels.models import Judge, mode_choices
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from prefloop.judging.kinds import ENSEMBLE, KINDS, POLICY, Kind, names_where


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


class EnsembleForm(JudgeForm):
    kind = ENSEMBLE
    fields_template = "judging/_fields_members.html"
    criterion_name = None
    members = forms.ModelMultipleChoiceField(
        label=_("Judges"), queryset=Judge.objects.none(), widget=forms.CheckboxSelectMultiple
    )
    rule = forms.ChoiceField(
        label=_("How they decide"),
        choices=[
            (WAYS_TO_DECIDE[0], _("Most of them")),
            (WAYS_TO_DECIDE[1], _("Weighted by their agreement with people")),
        ],
        initial=WAYS_TO_DECIDE[0],
        help_text=_("Weights are measured now and then fixed. Create the next version to measure again."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = names_where(lambda kind: kind.member)
        judges = Judge.objects.filter(project=self.project, retired_at=None, kind__in=kinds)
        newest = {judge.name: judge.pk for judge in judges.order_by("version")}
        self.fields["members"].queryset = Judge.objects.filter(pk__in=newest.values()).order_by("name")  # type: ignore[attr-defined]

    def clean_members(self) -> list[Judge]:
        members = list(self.cleaned_data["members"])
        if len(members) < 2:
            raise forms.ValidationError(_("Choose two or more."))
        return members

    def settings(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {
            "options": ensemble_options(project=self.project, members=data["members"], rule=data["rule"]),
            "criterion_name": data["members"][0].criterion_name,
        }


# in the order in which kinds are declared
FORMS: dict[str, type[JudgeForm]] = {
    name: form for name in KINDS for form in JudgeForm.__subclasses__() if form.kind.name == name
}


def offered(project: Project) -> list[Kind]:
    """The kinds of judge that people can make in this project."""
    return [form.kind for form in FORMS.values() if project.world or not form.kind.world]
