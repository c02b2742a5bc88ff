from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.policies.models import Checkpoint, Endpoint
from apps.policies.selectors import endpoint_list
from apps.projects.models import Project
from apps.prompts.forms import SPLITS
from apps.prompts.models import PromptSet
from apps.samples.pairs import MOST_PER_PROMPT


class CheckpointField(forms.ModelChoiceField):  # type: ignore[type-arg]  # not subscriptable at run time
    def label_from_instance(self, obj: Checkpoint) -> str:
        return f"{obj.name} (default)" if obj.is_default else obj.name


class EndpointField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Endpoint) -> str:
        return f"{obj.name} ({obj.model})"


class SampleForm(forms.Form):
    engine = forms.ChoiceField(
        label=_("Who answers"),
        choices=[
            ("transformers", _("A checkpoint, in the worker")),
            ("vllm", _("A checkpoint, in a vLLM server that the worker starts")),
            ("auto", _("A checkpoint: in vLLM for many answers on a GPU, else in the worker")),
            ("endpoint", _("An endpoint: a model on another server")),
        ],
        required=False,
    )
    checkpoint = CheckpointField(
        label=_("Checkpoint"), queryset=Checkpoint.objects.none(), empty_label=None, required=False
    )
    endpoint = EndpointField(label=_("Endpoint"), queryset=Endpoint.objects.none(), empty_label=None, required=False)
    api = forms.ChoiceField(
        label=_("How it is asked"),
        choices=[("chat", _("By chat messages")), ("completions", _("By text to be continued"))],
        required=False,
        help_text=_("Base models have no chat."),
    )
    prompt_set = forms.ModelChoiceField(label=_("Prompt set"), queryset=PromptSet.objects.none(), empty_label=None)
    split = forms.ChoiceField(label=_("Prompts"), choices=[("", _("All of the set")), *SPLITS], required=False)
    n = forms.IntegerField(label=_("Answers to each prompt"), min_value=1, max_value=1024, initial=4)
    temperature = forms.FloatField(
        label=_("Temperature"),
        min_value=0,
        max_value=10,
        initial=1.0,
        help_text=_("0 always takes the most likely token; 1 samples with the model's own probabilities."),
    )
    top_p = forms.FloatField(label=_("Top-p"), min_value=0.0001, max_value=1, initial=1.0, help_text=_("1 means all."))
    top_k = forms.IntegerField(
        label=_("Top-k"), min_value=0, max_value=1_000_000, initial=0, help_text=_("0 means all.")
    )
    max_tokens = forms.IntegerField(label=_("Longest answer, in tokens"), min_value=1, max_value=131_072, initial=128)
    seed = forms.IntegerField(
        label=_("Seed"), min_value=0, max_value=2**62, initial=0, help_text=_("The same seed gives the same answers.")
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["endpoint"].queryset = endpoint_list(project)  # type: ignore[attr-defined]
        policies = Checkpoint.objects.filter(project=project, role="policy").order_by("-is_default", "-id")
        self.fields["checkpoint"].queryset = policies  # type: ignore[attr-defined]
        self.fields["prompt_set"].queryset = PromptSet.objects.filter(project=project).order_by("id")  # type: ignore[attr-defined]
        for name in ("temperature", "top_p"):
            self.fields[name].widget.attrs.update(step="any", inputmode="decimal")

    def clean(self) -> dict[str, Any]:
        """Keep the checkpoint or the endpoint, whichever the engine needs: the form shows one of them."""
        data = super().clean() or {}
        data["engine"] = data.get("engine") or "transformers"
        wanted, other = ("endpoint", "checkpoint") if data["engine"] == "endpoint" else ("checkpoint", "endpoint")
        data[other] = None
        self.errors.pop(other, None)
        if data.get(wanted) is None and wanted not in self.errors:
            self.add_error(wanted, _("Choose one."))
        if wanted == "endpoint":
            data["top_k"] = 0  # the protocol has none, and the form does not show it
            self.errors.pop("top_k", None)
        return data


class CompareForm(forms.Form):
    pairing = forms.ChoiceField(
        label=_("Pairs"),
        choices=[
            ("two", _("The first two answers of each prompt")),
            ("random", _("Random pairs of each prompt")),
            ("all", _("All pairs of each prompt, up to a number")),
        ],
    )
    per_prompt = forms.IntegerField(
        label=_("Pairs per prompt, at most"), min_value=1, max_value=MOST_PER_PROMPT, initial=3, required=False
    )
    seed = forms.IntegerField(label=_("Seed"), min_value=0, max_value=2**62, initial=0, required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["per_prompt"] = data.get("per_prompt") or 1
        data["seed"] = data.get("seed") or 0
        return data
