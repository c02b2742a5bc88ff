from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.judging.models import Judge
from apps.judging.services import judge_template
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.store import check_name
from apps.projects.models import Project
from apps.prompts.forms import SPLITS
from prefloop.judging.render import MOST_TEMPLATE_CHARS, TemplateError, template_from_text
from prefloop.types import PrefloopError

PLAIN = {"autocomplete": "off", "spellcheck": "false"}


def built_in_template(mode: str) -> str:
    return judge_template(Judge(mode=mode))


class NameField(forms.CharField):
    """A name that can be a file's; the error says what one may hold."""

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        try:
            return check_name(text) if text else text
        except PrefloopError as error:
            raise forms.ValidationError(str(error)) from error


class JudgeForm(forms.Form):
    """What judges of all kinds have. With `judge` it makes the next version of that one: the name stays."""

    name = NameField(
        label=_("Name"),
        max_length=100,
        help_text=_("Letters, digits, dots, dashes and underscores."),
        widget=forms.TextInput(attrs=PLAIN),
    )

    def __init__(self, *args: Any, project: Project, judge: Judge | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project, self.judge = project, judge
        if judge is not None:
            del self.fields["name"]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if Judge.objects.filter(project=self.project, name=name).exists():
            raise forms.ValidationError(_("There is a judge of this name: make its next version on its page."))
        return name


class RewardJudgeForm(JudgeForm):
    checkpoint = forms.ModelChoiceField(label=_("Reward model"), queryset=Checkpoint.objects.none(), empty_label=None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rewards = Checkpoint.objects.filter(project=self.project, role="reward").order_by("-is_default", "-id")
        self.fields["checkpoint"].queryset = rewards  # type: ignore[attr-defined]


class WorldJudgeForm(JudgeForm):
    noise = forms.FloatField(
        label=_("Noise"),
        min_value=0,
        max_value=100,
        initial=0.0,
        help_text=_(
            "0 always says what the world prefers; at 1 a difference of one point is believed 73 % of the time."
        ),
    )
    soft = forms.BooleanField(label=_("Tell the probability instead of a side"), required=False)


class LlmJudgeForm(JudgeForm):
    endpoint = forms.ModelChoiceField(
        label=_("Endpoint"),
        queryset=Endpoint.objects.none(),
        required=False,
        empty_label=_("A new one (fill in below)"),
        help_text=_("A server that speaks the OpenAI chat protocol: a hosted one, or Ollama or vLLM of your own."),
    )
    endpoint_name = NameField(
        label=_("Its name here"), max_length=100, required=False, widget=forms.TextInput(attrs=PLAIN)
    )
    base_url = forms.CharField(
        label=_("Base URL"),
        max_length=500,
        required=False,
        help_text=_("As far as /v1: https://api.example.org/v1"),
        widget=forms.TextInput(attrs={**PLAIN, "inputmode": "url"}),
    )
    model = forms.CharField(label=_("Model"), max_length=200, required=False, widget=forms.TextInput(attrs=PLAIN))
    api_key = forms.CharField(
        label=_("API key"),
        max_length=1000,
        required=False,
        help_text=_("Kept encrypted, sent to this URL only, and never shown again."),
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )
    criterion = forms.CharField(
        label=_("Criterion"),
        max_length=4000,
        help_text=_("What makes an answer better? The judge goes by this and by nothing else."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    mode = forms.ChoiceField(
        label=_("How it answers"),
        choices=[("text", _("In words, with a verdict")), ("logprob", _("By the log-probs of one token"))],
    )
    order_policy = forms.ChoiceField(
        label=_("Order"),
        choices=[
            ("both_agree", _("Both orders must agree")),
            ("average", _("Average of both orders")),
            ("random", _("One random order")),
        ],
    )
    temperature = forms.FloatField(label=_("Temperature"), min_value=0, max_value=2, initial=0.0)
    max_tokens = forms.IntegerField(label=_("Longest reply, in tokens"), min_value=1, max_value=32_768, initial=1024)
    template = forms.CharField(
        label=_("Template"),
        required=False,
        max_length=MOST_TEMPLATE_CHARS,
        strip=False,
        help_text=_(
            "A [system] part and a [user] part; {{criterion}}, {{prompt}}, {{first_shown}} and {{second_shown}} once "
            "each in [user]. Empty: the built-in one."
        ),
        widget=forms.Textarea(attrs={"rows": 18, "class": "mono", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        endpoints = Endpoint.objects.filter(project=self.project).order_by("id")
        self.fields["endpoint"].queryset = endpoints  # type: ignore[attr-defined]
        self.fields["temperature"].widget.attrs.update(step="any", inputmode="decimal")

    def clean_api_key(self) -> str:
        key = str(self.cleaned_data["api_key"]).strip()
        if key and not (key.isascii() and key.isprintable()):
            raise forms.ValidationError(_("The key has characters that no key has (a line break from pasting?)."))
        return key

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("endpoint") is None and "endpoint" not in self.errors:
            needed = (("endpoint_name", _("name")), ("base_url", _("base URL")), ("model", _("model")))
            for name, word in needed:
                if not data.get(name) and name not in self.errors:
                    self.add_error(name, _("A new endpoint needs its %(what)s.") % {"what": word})
        elif any(data.get(name) for name in ("base_url", "model", "api_key")):
            self.add_error("endpoint", _("Choose an endpoint that is there, or describe a new one, not both."))
        text, mode = str(data.get("template") or ""), data.get("mode", "text")
        # what was not changed is not kept as this project's own: the built-in one stays the built-in one
        if "".join(text.split()) in (
            "",
            "".join(built_in_template("text").split()),
            "".join(built_in_template("logprob").split()),
        ):
            data["template"] = ""
        else:
            try:
                template_from_text(text, name="yours", mode="logprob" if mode == "logprob" else "text")
            except TemplateError as error:
                self.add_error("template", str(error))
        return data


class EndpointForm(forms.Form):
    """Where an endpoint is. Its model stays: judges were made with it."""

    base_url = forms.CharField(
        label=_("Base URL"), max_length=500, widget=forms.TextInput(attrs={**PLAIN, "inputmode": "url"})
    )
    api_key = forms.CharField(
        label=_("New API key"),
        max_length=1000,
        required=False,
        help_text=_("Empty keeps the stored one, as long as the URL stays: another URL wipes it."),
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )

    clean_api_key = LlmJudgeForm.clean_api_key


class AskForm(forms.Form):
    split = forms.ChoiceField(label=_("Comparisons of"), choices=[("", _("All prompts")), *SPLITS], required=False)
    which = forms.ChoiceField(
        label=_("Which"),
        choices=[("all", _("All of them")), ("sample", _("A random sample"))],
    )
    n = forms.IntegerField(label=_("Sample size"), min_value=1, max_value=1_000_000, initial=100, required=False)
    seed = forms.IntegerField(label=_("Seed"), min_value=0, max_value=2**62, initial=0, required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("which") == "sample" and not data.get("n") and "n" not in self.errors:
            self.add_error("n", _("How many?"))
        return data
