"""What leads fill in: the share of gold pairs, the bound of practice, batches, and the budget of labels."""

from __future__ import annotations

from datetime import datetime, time
from decimal import ROUND_DOWN, Decimal
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.projects.models import MemberGroup, Project
from apps.projects.selectors import groups_of
from apps.prompts.models import PromptSet
from apps.rankings.gold import MOST_SHARE
from apps.rankings.services.batches import MOST_ITEMS

_MOST = 2**31 - 1


class ShareForm(forms.Form):
    share = forms.IntegerField(
        label=_("Gold among what people and judges get, in %"),
        min_value=0,
        max_value=MOST_SHARE,
        help_text=_("Nobody can tell which these are, and nobody gets one twice. At 0 gold comes like anything else."),
    )


class BoundForm(forms.Form):
    bound = forms.IntegerField(
        label=_("Right answers needed before real work, in %"),
        required=False,
        min_value=1,
        max_value=100,
        help_text=_("Annotators practise first. Empty: nobody has to practise."),
    )


class BatchForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    prompt_set = forms.ModelChoiceField(
        PromptSet.objects.none(),
        label=_("Prompt set"),
        required=False,
        empty_label=_("all"),
        to_field_name="name",
    )
    contains = forms.CharField(label=_("Prompt contains"), required=False, max_length=200)
    disputed = forms.BooleanField(label=_("Only pairs on which judges disagree"), required=False)
    most = forms.IntegerField(label=_("Number of pairs, at most"), min_value=1, max_value=MOST_ITEMS, initial=100)
    people = forms.ModelMultipleChoiceField(
        User.objects.none(),
        label=_("For these people"),
        required=False,
        to_field_name="username",
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None: for everybody. Others get these pairs only when nothing else is left for them."),
    )
    groups = forms.ModelMultipleChoiceField(
        MemberGroup.objects.none(),
        label=_("For these groups"),
        required=False,
        to_field_name="name",
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Whoever is in a group when a pair is given. Leads make groups in Reports, People."),
    )
    deadline = forms.DateField(label=_("Deadline"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sets: Any = self.fields["prompt_set"]
        sets.queryset = PromptSet.objects.filter(project=project).order_by("name")
        sets.label_from_instance = lambda one: one.name
        people: Any = self.fields["people"]
        people.queryset = User.objects.filter(memberships__project=project).order_by("username")

        groups: Any = self.fields["groups"]
        groups.queryset = groups_of(project)
        groups.label_from_instance = lambda one: f"{one.name} ({len(one.members.all())})"

    def wanted(self) -> dict[str, Any]:
        """The arguments of `batch_of_fitting` besides the project and who makes it."""
        day = self.cleaned_data["deadline"]
        end = None if day is None else datetime.combine(day, time(23, 59, 59), timezone.get_current_timezone())
        return {**self.cleaned_data, **self._whose(), "deadline": end}

    def _whose(self) -> dict[str, Any]:
        return {name: list(self.cleaned_data[name]) for name in ("people", "groups")}


class BudgetForm(forms.Form):
    """After how many labels no more pairs are given, and what a label costs."""

    labels = forms.IntegerField(
        label=_("Budget in labels"),
        required=False,
        min_value=0,
        max_value=_MOST,
        help_text=_("Every answer but a skip is a label, also of gold pairs. Empty: no limit."),
    )
    price = forms.DecimalField(
        label=_("Price of a label"), required=False, min_value=0, max_digits=10, decimal_places=4
    )
    currency = forms.RegexField(r"^[A-Za-z]{3}$", label=_("Currency"), initial="USD", max_length=3)
    money = forms.DecimalField(
        label=_("Or: budget in money"),
        required=False,
        min_value=0,
        max_digits=12,
        decimal_places=2,
        help_text=_("Needs a price, and becomes a budget in labels."),
    )

    @staticmethod
    def initial_of(project: Project) -> dict[str, Any]:
        price: Decimal | None = None if project.label_price is None else project.label_price.normalize()
        return {
            "labels": project.label_budget,
            "price": None if price is None else f"{price:f}",
            "currency": project.label_currency,
        }

    def budget(self) -> dict[str, Any]:
        """The arguments of `budget_set` besides the project and who sets it."""
        return {name: self.cleaned_data[name] for name in ("labels", "price", "currency")}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        money, price = data.get("money"), data.get("price")
        if money is not None and not price:
            self.add_error("money", gettext("Give the price of a label too."))
        elif money is not None and price:
            labels = int((money / price).to_integral_value(ROUND_DOWN))
            if labels > _MOST:
                self.add_error("money", gettext("This is more labels than can be counted."))
            data["labels"] = labels
        return data
