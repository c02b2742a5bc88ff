from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.events.types import CHOSEN, EVENTS


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=_("Address"),
        max_length=500,
        help_text=_("https://…, without a query. The operator must allow addresses on this machine or network."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}),
    )
    kinds = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[(name, EVENTS[name].about) for name in CHOSEN],
        widget=forms.CheckboxSelectMultiple,
    )
