from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.labels.exclusions import people_who_said
from apps.projects.models import Project
from apps.removal.retention import KEPT, MOST_DAYS

KIND_WORDS = [("prompt", _("A prompt")), ("person", _("A person's data")), ("project", _("This project"))]

LABEL_WORDS = [("pseudonym", _("Keep them under a pseudonym")), ("delete", _("Delete them too"))]


class DeletionForm(forms.Form):
    """What is to be deleted. A project is named by its address, so that nobody deletes it by a slip."""

    kind = forms.ChoiceField(choices=KIND_WORDS, label=_("Delete"))
    which = forms.CharField(max_length=200, label=_("Which"))
    labels = forms.ChoiceField(
        label=_("Their labels"),
        required=False,
        choices=LABEL_WORDS,
        initial="pseudonym",
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind, which = data.get("kind"), data.get("which")
        if kind == "project" and which != self.project.slug:
            self.add_error("which", _("Type the project's address to delete it."))
        if kind == "person" and which and which not in names_in(self.project):
            self.add_error("which", _("Nobody of this name has labelled anything here or is a member."))
        data["labels"] = (data.get("labels") or "pseudonym") if kind == "person" else ""
        return data


def names_in(project: Project) -> list[str]:
    """Everybody whose data could be deleted: who labelled something, and members."""
    return sorted({*people_who_said(project), *project.memberships.values_list("user__username", flat=True)})


class AccountForm(forms.Form):
    """An account that is to be deleted, named once more so that nobody deletes it by a slip."""

    username = forms.CharField(
        label=_("Username"), max_length=150, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    labels = forms.ChoiceField(label=_("Labels"), choices=LABEL_WORDS, initial="pseudonym")

    def __init__(self, *args: Any, account: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.account = account

    def clean_username(self) -> str:
        if self.cleaned_data["username"] != self.account.username:
            raise forms.ValidationError(_("Type the username of the account to delete it."))
        return self.account.username


class RetentionForm(forms.Form):
    """For how many days each kind of data is kept; empty: for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, kept in KEPT.items():
            self.fields[name] = forms.IntegerField(
                label=str(kept.label), help_text=str(kept.about), required=False, min_value=1, max_value=MOST_DAYS
            )
