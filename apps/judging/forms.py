from __future__ import annotations

import json
from typing import Any, cast

from django import forms
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from apps.accounts.models import User
from apps.judging.services import BadJudge, built_in_template, judge_create, judge_draft, judge_template
from apps.labels.measured import ALIGNED
from apps.labels.models import Judge, mode_choices
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.store import check_name
from apps.projects.models import Project
from apps.projects.selectors import criteria_of, questions_of
from prefloop.judging.kinds import LLM, REWARD_MODEL, RULES, WORLD, Kind
from prefloop.judging.modes import JUDGE_MODES
from prefloop.judging.render import MOST_TEMPLATE_CHARS, TemplateError, judge_mode, template_from_text
from prefloop.types import PrefloopError

_NAMES = ("name", "criterion_name")
KEPT_OPTIONS = ("examples", ALIGNED)  # what no field of a form shows, and the next version keeps
PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class NameField(forms.CharField):
    """A name that can be a file name; the error says which characters are allowed."""

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        try:
            return check_name(text) if text else text
        except PrefloopError as error:
            raise forms.ValidationError(str(error)) from error


class JudgeForm(forms.Form):
    """The fields of judges of all kinds. With `judge` it makes the next version of that one, with the same name.

    A kind whose settings people fill in has such a form, found by `kind` (`FORMS`).
    """

    kind: Kind
    fields_template = "judging/_fields.html"
    is_wide = False
    by: User | None = None  # whoever saves it

    name = NameField(
        label=_("Name"),
        max_length=100,
        help_text=_("Letters, digits, dots, dashes and underscores."),
        widget=forms.TextInput(attrs=PLAIN),
    )
    # of the project's named ones; of an ensemble it is that of its members
    criterion_name: forms.ChoiceField | None = forms.ChoiceField(
        label=_("Judges by"),
        required=False,
        help_text=_("Its verdicts are labels by this criterion, and are compared with people's votes by it."),
    )

    def __init__(self, *args: Any, project: Project, judge: Judge | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project, self.judge = project, judge
        names = criteria_of(project)
        if judge is not None:
            for name in _NAMES:
                self.fields.pop(name, None)
        elif "criterion_name" in self.fields:
            by = cast(forms.ChoiceField, self.fields["criterion_name"])
            by.choices = [("", _("no named criterion")), *((name, name) for name in names)]
            if not names:
                by.widget = forms.HiddenInput()

    @staticmethod
    def initial_of(judge: Judge) -> dict[str, Any]:
        """The initial values of the form for a judge's next version."""
        return dict(judge.options)

    @staticmethod
    def initial_for(project: Project) -> dict[str, Any]:
        """The initial values of the form for a new judge."""
        del project
        return {}

    def lack(self) -> bool:
        """Whether the project lacks what is needed to make such a judge."""
        return False

    def settings(self) -> dict[str, Any]:
        """The arguments of `judge_create` besides project, name and kind."""
        return {"options": {name: value for name, value in self.cleaned_data.items() if name not in _NAMES}}

    def draft(self) -> Judge:
        """Give the judge that it describes, which is not stored. Raises PrefloopError."""
        name = self.judge.name if self.judge is not None else self.cleaned_data.get("name") or "draft"
        return judge_draft(project=self.project, name=name, kind=self.kind.name, **self.settings())

    def save(self) -> Judge:
        """Create the judge, or its next version. Raises PrefloopError."""
        by = {"criterion_name": self.cleaned_data["criterion_name"]} if "criterion_name" in self.fields else {}
        return judge_create(project=self.project, name=self._name(), kind=self.kind.name, **by, **self.settings())

    def _name(self) -> str:
        return self.judge.name if self.judge is not None else str(self.cleaned_data["name"])

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if Judge.objects.filter(project=self.project, name=name).exists():
            raise forms.ValidationError(
                _("There is already a judge with this name. Make its next version on its page.")
            )
        return name


class RewardJudgeForm(JudgeForm):
    kind = REWARD_MODEL
    checkpoint = forms.ModelChoiceField(
        label=_("Reward model"),
        queryset=Checkpoint.objects.none(),
        empty_label=None,
        help_text=_("It scores every answer by itself, so the order shown does not matter."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rewards = Checkpoint.objects.filter(project=self.project, role="reward").order_by("-is_default", "-id")
        self.fields["checkpoint"].queryset = rewards  # type: ignore[attr-defined]

    @staticmethod
    def initial_of(judge: Judge) -> dict[str, Any]:
        return {"checkpoint": judge.checkpoint_id}

    def lack(self) -> bool:
        return not self.fields["checkpoint"].queryset.exists()  # type: ignore[attr-defined]

    def settings(self) -> dict[str, Any]:
        return {"checkpoint": self.cleaned_data["checkpoint"]}


class WorldJudgeForm(JudgeForm):
    kind = WORLD
    noise = forms.FloatField(
        label=_("Noise"),
        min_value=0,
        max_value=100,
        initial=0.0,
        help_text=_(
            # xgettext:no-python-format
            "At 0 it always gives the world's preference; at 1 it gets a difference of one point right 73 % "
            "of the time."
        ),
    )
    soft = forms.BooleanField(label=_("Give a probability instead of a side"), required=False)


class RulesJudgeForm(JudgeForm):
    kind = RULES
    is_wide = True
    rules = forms.CharField(
        label=_("Rules"),
        required=False,
        max_length=50_000,
        help_text=_(
            'JSON: a list of checks, such as [{"check": "words", "at_most": 120}, {"check": "contains", "text": '
            '"Maria"}]. They apply to every prompt.'
        ),
        widget=forms.Textarea(attrs={"rows": 10, "class": "mono", "spellcheck": "false"}),
    )
    from_metadata = forms.BooleanField(
        label=_("Also apply the rules in each prompt's metadata"),
        required=False,
        help_text=_("A list under “rules”, or IFEval's “instruction_id_list” and “kwargs”."),
    )
    count = forms.ChoiceField(
        label=_("What counts"),
        choices=[("share", _("The share of the rules that an answer meets")), ("all", _("Whether it meets all"))],
        initial="share",
    )
    loose = forms.BooleanField(
        label=_("Ignore a first line, a last line and asterisks"),
        required=False,
        help_text=_("IFEval's loose accuracy: “Sure, here it is:” does not count against an answer."),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors:
            try:
                checked = self.kind.options({name: data[name] for name in data if name not in _NAMES})
            except PrefloopError as error:
                self.add_error("rules", str(error))
            else:
                data["rules"] = checked["rules"]
        return data

    @staticmethod
    def initial_of(judge: Judge) -> dict[str, Any]:
        rules = judge.options.get("rules")
        text = json.dumps(rules, ensure_ascii=False, indent=2) if rules else ""
        return {**judge.options, "rules": text}


class LlmJudgeForm(JudgeForm):
    kind = LLM
    fields_template = "judging/_fields_llm.html"
    is_wide = True
    endpoint = forms.ModelChoiceField(
        label=_("Endpoint"),
        queryset=Endpoint.objects.none(),
        required=False,
        empty_label=_("A new one (fill in below)"),
        help_text=_("A server with the OpenAI chat protocol: hosted, or your own Ollama or vLLM."),
    )
    endpoint_name = NameField(
        label=_("Its name here"), max_length=100, required=False, widget=forms.TextInput(attrs=PLAIN)
    )
    base_url = forms.CharField(
        label=_("Base URL"),
        max_length=500,
        required=False,
        help_text=_("Up to /v1, for example https://api.example.org/v1"),
        widget=forms.TextInput(attrs={**PLAIN, "inputmode": "url"}),
    )
    model = forms.CharField(label=_("Model"), max_length=200, required=False, widget=forms.TextInput(attrs=PLAIN))
    api_key = forms.CharField(
        label=_("API key"),
        max_length=1000,
        required=False,
        help_text=_("Stored encrypted, sent only to this URL, and never shown again."),
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )
    criterion = forms.CharField(
        label=_("Criterion"),
        max_length=4000,
        help_text=_("What makes an answer better? The judge uses only this."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    mode = forms.ChoiceField(
        label=_("How it answers"),
        choices=mode_choices,
    )
    samples = forms.IntegerField(
        label=_("Grades of one answer"),
        min_value=1,
        max_value=LLM.most_samples,
        required=False,
        help_text=_("For judges that grade: the mean is used, and unreadable grades are left out."),
    )
    order_policy = forms.ChoiceField(
        label=_("Order"),
        choices=[
            ("both_agree", _("Both orders must agree")),
            ("average", _("Average of both orders")),
            ("random", _("One random order")),
        ],
        initial="both_agree",
    )
    temperature = forms.FloatField(
        label=_("Temperature"),
        min_value=0,
        max_value=2,
        required=False,
        help_text=_("Leave empty for the usual value of this way of answering."),
    )
    max_tokens = forms.IntegerField(label=_("Longest reply, in tokens"), min_value=1, max_value=32_768, initial=1024)
    template = forms.CharField(
        label=_("Template"),
        required=False,
        max_length=MOST_TEMPLATE_CHARS,
        strip=False,
        help_text=_(
            "A [system] part and a [user] part; {{criterion}}, {{prompt}}, {{first_shown}} and {{second_shown}} once "
            "each in [user] ({{answer}} instead of the last two in one that grades). Leave empty for the "
            "built-in template."
        ),
        widget=forms.Textarea(attrs={"rows": 18, "class": "mono", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        endpoints = Endpoint.objects.filter(project=self.project).order_by("id")
        self.fields["endpoint"].queryset = endpoints  # type: ignore[attr-defined]
        self.fields["temperature"].widget.attrs.update(step="any", inputmode="decimal")
        self.fields["criterion"].required = "criterion_name" not in self.fields  # else a question may stand for it

    def clean_api_key(self) -> str:
        key = str(self.cleaned_data["api_key"]).strip()
        if key and not (key.isascii() and key.isprintable()):
            raise forms.ValidationError(_("The key has characters that no key has (a line break from pasting?)."))
        return key

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        named = data.get("criterion_name")
        if named and data.get("criterion", "") in ("", self.project.criterion):
            data["criterion"] = questions_of(self.project).get(named, data.get("criterion", ""))
        if not data.get("criterion") and "criterion" not in self.errors:
            self.add_error("criterion", self.fields["criterion"].error_messages["required"])
        usual = LLM.defaults.get(str(data.get("mode")), {})
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
            self.add_error("endpoint", _("Choose an existing endpoint or describe a new one, not both."))
        text = str(data.get("template") or "")
        if is_built_in(text):  # what was not changed is not kept as this project's own
            data["template"] = ""
        else:
            try:
                template_from_text(text, name="Your template", mode=judge_mode(str(data.get("mode", "text"))))
            except TemplateError as error:
                self.add_error("template", str(error))
        return data

    @staticmethod
    def initial_of(judge: Judge) -> dict[str, Any]:
        return {
            "endpoint": judge.endpoint_id,
            "criterion": judge.criterion,
            "mode": judge.mode,
            "order_policy": judge.order_policy,
            "template": judge_template(judge),
            "temperature": judge.options.get("temperature", 0.0),
            "max_tokens": judge.options.get("max_tokens", 1024),
            "samples": judge.options.get("samples"),
        }

    @staticmethod
    def initial_for(project: Project) -> dict[str, Any]:
        return {
            "criterion": project.criterion,
            "template": built_in_template("text"),
            "mode": "text",
            "order_policy": "both_agree",
        }

    def draft(self) -> Judge:
        if self.cleaned_data.get("endpoint") is None:
            raise BadJudge(_("Choose an existing endpoint: a new one is saved with the judge first."))
        return super().draft()

    @sensitive_variables()
    def settings(self) -> dict[str, Any]:
        data = self.cleaned_data
        endpoint = data["endpoint"] or endpoint_create(
            project=self.project,
            name=data["endpoint_name"],
            base_url=data["base_url"],
            model=data["model"],
            api_key=data["api_key"],
            by=self.by,
        )
        before = self.judge.options if self.judge is not None else {}
        options = {name: before[name] for name in KEPT_OPTIONS if name in before}
        options |= {"temperature": data["temperature"], "max_tokens": data["max_tokens"]}
        if LLM.gives_scores(data["mode"]):
            options["samples"] = data["samples"]
        return {
            "order_policy": data["order_policy"],
            "endpoint": endpoint,
            "template": data["template"],
            "criterion": data["criterion"],
            "mode": data["mode"],
            "options": options,
            "is_simulated": endpoint.is_simulated,
        }


def is_built_in(text: str) -> bool:
    """Whether a template is empty or a built-in one, ignoring white space."""
    return "".join(text.split()) in {"", *("".join(built_in_template(mode).split()) for mode in JUDGE_MODES)}
