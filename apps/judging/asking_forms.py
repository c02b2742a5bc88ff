"""Forms for running a judge, for attacks, and for its endpoint."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.judging.forms import PLAIN, LlmJudgeForm
from apps.prompts.forms import SPLITS


class SpendingForm(forms.Form):
    """The price of an endpoint's tokens, and the cap on spending."""

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


class AttackForm(forms.Form):
    n = forms.IntegerField(label=_("Pairs"), min_value=1, max_value=200, initial=10)


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
