from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.policies.averaging import BY
from apps.policies.models import Checkpoint


class ImportForm(forms.Form):
    path = forms.CharField(
        label=_("Model"),
        max_length=1000,
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        help_text=_("Letters, digits, dots, dashes and underscores."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(
        label=_("What is it?"),
        choices=[("policy", _("A policy: it answers prompts")), ("reward", _("A reward model: it scores answers"))],
    )


class AverageForm(forms.Form):
    of = forms.MultipleChoiceField(label=_("Checkpoints to average"), widget=forms.CheckboxSelectMultiple)
    by = forms.ChoiceField(label=_("How"), choices=list(BY.items()), initial="mean")
    keep = forms.FloatField(
        label=_("Share of the way from their common start"),
        initial=1.0,
        min_value=0.0,
        max_value=1.0,
        help_text=_("1 keeps all that was learnt; less pulls the average back towards the start."),
    )
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        help_text=_("Letters, digits, dots, dashes and underscores."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, rows: Sequence[Checkpoint], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        of: Any = self.fields["of"]
        of.choices = [(row.name, f"{row.name} ({row.get_role_display()})") for row in rows]


class NewEndpointForm(forms.Form):
    name = forms.CharField(
        label=_("Its name here"),
        max_length=100,
        help_text=_("Letters, digits, dots, dashes and underscores."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    base_url = forms.CharField(
        label=_("Base URL"),
        max_length=500,
        help_text=_("Up to /v1, for example https://api.example.org/v1"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}),
    )
    model = forms.CharField(
        label=_("Model"), max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    api_key = forms.CharField(
        label=_("API key"),
        max_length=1000,
        required=False,
        help_text=_("Stored encrypted, sent only to this URL, and never shown again."),
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )

    def clean_api_key(self) -> str:
        key = str(self.cleaned_data["api_key"]).strip()
        if key and not (key.isascii() and key.isprintable()):
            raise forms.ValidationError(_("The key has characters that no key has (a line break from pasting?)."))
        return key
