from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import password_validation
from django.utils.translation import gettext_lazy as _

from apps.accounts.forms import PASSWORD_HELP
from apps.accounts.models import User
from apps.projects.models import Role
from apps.projects.services import MAX_VOTES

ROLE_HELP = _(
    "Annotators compare answers. Leads also correct judges and read reports. Engineers also start loops. "
    "Owners can do everything."
)


class ProjectForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=120, help_text=_("The address is made from the name and never changes.")
    )
    criterion = forms.CharField(
        label=_("What makes an answer better here?"),
        required=False,
        max_length=4000,
        help_text=_(
            "One or two sentences. People see it while they compare, and it is the default criterion of judges."
        ),
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    description = forms.CharField(
        label=_("Description"), required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 2})
    )


class LabelPolicyForm(forms.Form):
    votes_per_comparison = forms.IntegerField(
        label=_("Votes for each comparison"),
        min_value=1,
        max_value=MAX_VOTES,
        help_text=_("How many different people compare each pair. With two or more you can see how well people agree."),
    )
    annotators_may_override = forms.BooleanField(
        label=_("Annotators may override judges' labels"),
        required=False,
        help_text=_("Otherwise only leads, engineers and owners may."),
    )
    random_share = forms.IntegerField(
        label=_("Random share of the pairs to annotate, in %"),
        required=False,  # empty: as it is
        min_value=0,
        max_value=100,
        help_text=_(
            "The other pairs come by worth: first those on which judges disagree, then close calls. Figures about "
            "judges are fair only on pairs that were drawn at random, so some are needed."
        ),
    )
    judge_bound = forms.FloatField(
        label=_("Lowest agreement of the label judge, in percent"),
        min_value=1,
        max_value=100,
        required=False,
        help_text=_(
            "When the interval of its agreement with people lies below this, the event “judge.below_bound” is told. "
            "Empty: it is not watched."
        ),
    )

    def clean_judge_bound(self) -> float | None:
        percent = self.cleaned_data["judge_bound"]
        return None if percent is None else float(percent) / 100


class GuidelineForm(forms.Form):
    text = forms.CharField(
        label=_("Guidelines"),
        max_length=50_000,
        help_text=_("Markdown. Saving makes a new version; every vote keeps the version it was given under."),
        widget=forms.Textarea(attrs={"rows": 12}),
    )
    asks_strength = forms.BooleanField(
        label=_("Ask how much better"),
        required=False,
        help_text=_(
            "Adds “A is much better” and “B is much better” to Annotate (Shift with the answer's key). The strength is "
            "stored and exported with the vote; labels do not depend on it."
        ),
    )


class InvitationForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.ANNOTATOR)
    note = forms.CharField(label=_("Who is it for?"), max_length=120, required=False)


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class NewAccountForm(forms.Form):
    """A form for a username and a password, for somebody who was invited."""

    username = forms.CharField(
        label=_("Username"),
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        label=_("Password"),
        help_text=PASSWORD_HELP,
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "minlength": "12"}),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("password"):
            try:
                password_validation.validate_password(data["password"], User(username=data.get("username", "")))
            except forms.ValidationError as error:
                self.add_error("password", error)
        return data
