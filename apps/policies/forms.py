from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _


class ImportForm(forms.Form):
    path = forms.CharField(
        label=_("Directory on the server"),
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
