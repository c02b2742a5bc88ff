from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.prompts.services import MAX_LINES, MAX_PROMPT_CHARS

SPLITS = [("train", _("Training")), ("eval", _("Evaluation"))]


class PasteForm(forms.Form):
    set_name = forms.CharField(
        label=_("Prompt set"),
        max_length=120,
        help_text=_("The name of a prompt set; a new name creates a new set."),
        widget=forms.TextInput(attrs={"list": "prompt-sets", "autocomplete": "off"}),
    )
    split = forms.ChoiceField(
        label=_("Used for"),
        choices=SPLITS,
        help_text=_("Evaluation prompts are for measuring and are never trained on."),
    )
    text = forms.CharField(
        label=_("Prompts, one a line"),
        strip=False,
        max_length=MAX_LINES * 1000,
        help_text=_("At most %(lines)s lines of %(chars)s characters. Empty lines are skipped.")
        % {"lines": f"{MAX_LINES:,}", "chars": f"{MAX_PROMPT_CHARS:,}"},
        widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false"}),
    )
