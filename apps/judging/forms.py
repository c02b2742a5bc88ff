from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.judging.ensembles import RULES
from apps.judging.models import Judge, JudgeKind
from apps.judging.services import MODE_DEFAULTS, MOST_SAMPLES, built_in_template
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.store import check_name
from apps.projects.models import Project
from apps.prompts.forms import SPLITS
from prefloop.judging.render import JUDGE_MODES, MOST_TEMPLATE_CHARS, TemplateError, judge_mode, template_from_text
from prefloop.types import PrefloopError

PLAIN = {"autocomplete": "off", "spellcheck": "false"}


MODE_WORDS = [
    ("text", _("Compares: reasons, then a verdict")),
    ("json", _("Compares: reasons and a verdict as JSON, by a schema")),
    ("five", _("Compares: reasons, then one of five labels")),
    ("logprob", _("Compares: log-probs of one token")),
    ("soft", _("Compares: log-probs of one token, names without an order")),
    ("additive", _("Grades each answer from 0 to 5, several times")),
    ("rubric", _("Grades each answer from 1 to 10")),
]


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
        choices=MODE_WORDS,
    )
    samples = forms.IntegerField(
        label=_("Grades of one answer"),
        min_value=1,
        max_value=MOST_SAMPLES,
        required=False,
        help_text=_("Their mean counts; what can't be read is left out. For judges that grade."),
    )
    order_policy = forms.ChoiceField(
        label=_("Order"),
        choices=[
            ("both_agree", _("Both orders must agree")),
            ("average", _("Average of both orders")),
            ("random", _("One random order")),
        ],
    )
    temperature = forms.FloatField(
        label=_("Temperature"),
        min_value=0,
        max_value=2,
        required=False,
        help_text=_("Empty: as usual for this way of answering."),
    )
    max_tokens = forms.IntegerField(label=_("Longest reply, in tokens"), min_value=1, max_value=32_768, initial=1024)
    template = forms.CharField(
        label=_("Template"),
        required=False,
        max_length=MOST_TEMPLATE_CHARS,
        strip=False,
        help_text=_(
            "A [system] part and a [user] part; {{criterion}}, {{prompt}}, {{first_shown}} and {{second_shown}} once "
            "each in [user] ({{answer}} instead of the last two in one that grades). Empty: the built-in one."
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
        usual = MODE_DEFAULTS.get(str(data.get("mode")), {})
        if data.get("temperature") is None:
            data["temperature"] = usual.get("temperature", 0.0)
        if data.get("samples") is None:
            data["samples"] = usual.get("samples", 1)
        if data.get("endpoint") is None and "endpoint" not in self.errors:
            needed = (("endpoint_name", _("name")), ("base_url", _("base URL")), ("model", _("model")))
            for name, word in needed:
                if not data.get(name) and name not in self.errors:
                    self.add_error(name, _("A new endpoint needs its %(what)s.") % {"what": word})
        elif any(data.get(name) for name in ("base_url", "model", "api_key")):
            self.add_error("endpoint", _("Choose an endpoint that is there, or describe a new one, not both."))
        text = str(data.get("template") or "")
        if is_built_in(text):  # what was not changed is not kept as this project's own
            data["template"] = ""
        else:
            try:
                template_from_text(text, name="yours", mode=judge_mode(str(data.get("mode", "text"))))
            except TemplateError as error:
                self.add_error("template", str(error))
        return data


def is_built_in(text: str) -> bool:
    """Whether a template is empty or one of ours, white space aside."""
    return "".join(text.split()) in {"", *("".join(built_in_template(mode).split()) for mode in JUDGE_MODES)}


class EnsembleForm(JudgeForm):
    members = forms.ModelMultipleChoiceField(
        label=_("Judges"), queryset=Judge.objects.none(), widget=forms.CheckboxSelectMultiple
    )
    rule = forms.ChoiceField(
        label=_("How they decide"),
        choices=[(RULES[0], _("Most of them")), (RULES[1], _("Each weighs as it was seen to agree with people"))],
        help_text=_("Weights are measured now and stay: make the next version to measure again."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = (JudgeKind.ENSEMBLE, JudgeKind.IMPORTED)
        judges = Judge.objects.filter(project=self.project, retired_at=None).exclude(kind__in=kinds)
        newest = {judge.name: judge.pk for judge in judges.order_by("version")}
        self.fields["members"].queryset = Judge.objects.filter(pk__in=newest.values()).order_by("name")  # type: ignore[attr-defined]

    def clean_members(self) -> list[Judge]:
        members = list(self.cleaned_data["members"])
        if len(members) < 2:
            raise forms.ValidationError(_("Choose two or more."))
        return members


class SpendingForm(forms.Form):
    """What an endpoint's tokens cost, and the most that may be spent on it in all."""

    input_price = forms.DecimalField(
        label=_("Price of a million tokens read ($)"), min_value=0, max_digits=12, decimal_places=4, required=False
    )
    output_price = forms.DecimalField(
        label=_("Price of a million tokens written ($)"), min_value=0, max_digits=12, decimal_places=4, required=False
    )
    cap_tokens = forms.IntegerField(
        label=_("Cap in tokens"), min_value=0, max_value=10**15, required=False, help_text=_("Empty: no cap.")
    )
    cap_cost = forms.DecimalField(
        label=_("Cap in dollars"),
        min_value=0,
        max_digits=12,
        decimal_places=4,
        required=False,
        help_text=_(
            "Checked before each call. A run that meets it stops with what it has, and goes on when it is raised."
        ),
    )


class AttackForm(forms.Form):
    n = forms.IntegerField(label=_("Pairs"), min_value=1, max_value=200, initial=10)


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
