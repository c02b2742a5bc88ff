"""Forms for running a judge, for attacks, and for its endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.judging.alignment import MOST_PAIRS, Correction
from apps.judging.forms import PLAIN, LlmJudgeForm
from apps.prompts.forms import SPLITS
from prefloop.judging.asking import CALLS_AT_ONCE
from prefloop.judging.transport import MOST_AT_ONCE


class SpendingForm(forms.Form):
    """The price of an endpoint's tokens, the cap on spending, and how many calls it gets at once."""

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
            "Checked before each call. A run that reaches the cap stops, keeps its verdicts, and can continue "
            "when the cap is raised."
        ),
    )
    at_once = forms.IntegerField(
        label=_("Calls at once"),
        min_value=1,
        max_value=MOST_AT_ONCE,
        initial=CALLS_AT_ONCE,
        required=False,
        help_text=_(
            "How many calls one job has in flight. A service that limits requests needs few; a server of your own "
            "answers more in the same time if it is asked more at once."
        ),
    )

    def clean_at_once(self) -> int:
        return self.cleaned_data["at_once"] or CALLS_AT_ONCE


class AttackForm(forms.Form):
    n = forms.IntegerField(label=_("Pairs"), min_value=1, max_value=200, initial=10)


class AlignForm(forms.Form):
    """What the next version of a judge is shown, and on how many pairs it is tried."""

    examples = forms.MultipleChoiceField(label=_("Pairs that the judge is shown"), required=False)
    criterion = forms.CharField(
        label=_("Criterion of the new version"), max_length=8000, widget=forms.Textarea(attrs={"rows": 4})
    )
    reasons = forms.MultipleChoiceField(
        label=_("Add these reasons to the criterion"), required=False, widget=forms.CheckboxSelectMultiple
    )
    n = forms.IntegerField(label=_("Try it on how many pairs"), min_value=1, max_value=MOST_PAIRS)
    seed = forms.IntegerField(label=_("Seed"), min_value=0, max_value=2**62, initial=0, required=False)

    def __init__(
        self, *args: Any, shown: Sequence[Correction], reasons: Sequence[tuple[str, int]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["examples"].choices = [(str(one.comparison.pk), "") for one in shown]  # type: ignore[attr-defined]
        self._reasons = [text for text, _n in reasons]
        self.fields["reasons"].choices = [  # type: ignore[attr-defined]
            (str(place), f"{text[:300]} (× {n})" if n > 1 else text[:300]) for place, (text, n) in enumerate(reasons)
        ]

    def settings(self) -> dict[str, Any]:
        """The arguments of `alignment_start` besides the judge."""
        data = self.cleaned_data
        added = [self._reasons[int(place)] for place in data["reasons"]]
        return {
            "comparison_ids": [int(key) for key in data["examples"]],
            "criterion": "\n".join([data["criterion"].rstrip(), *(f"- {text}" for text in added)]),
            "n": data["n"],
            "seed": data["seed"] or 0,
        }


class EndpointForm(forms.Form):
    """The address of an endpoint. Its model can't change, because judges use it."""

    base_url = forms.CharField(
        label=_("Base URL"), max_length=500, widget=forms.TextInput(attrs={**PLAIN, "inputmode": "url"})
    )
    api_key = forms.CharField(
        label=_("New API key"),
        max_length=1000,
        required=False,
        help_text=_("Leave empty to keep the stored key. If the URL changes, the stored key is deleted."),
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
