from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import password_validation
from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_lazy as _

from apps.accounts.forms import PASSWORD_HELP
from apps.accounts.models import User
from apps.projects.models import Guideline, MemberGroup, Project, Role
from apps.projects.services import MAX_VOTES
from prefloop.criteria import BadCriterion, Criterion, criteria_read, criteria_written
from prefloop.reasons import LONGEST as LONGEST_REASON
from prefloop.reasons import MOST as MOST_REASONS
from prefloop.reasons import BadReason, reasons_read, reasons_written
from prefloop.rubrics import BadRubric, Item, rubric_read
from prefloop.tasks import FEWEST_IN_SET, MOST_IN_SET, PAIR, TASKS, USUAL_IN_SET

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

    @staticmethod
    def initial_of(project: Project) -> dict[str, Any]:
        return {name: getattr(project, name) for name in ("name", "criterion", "description")}


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
    annotators_may_edit = forms.BooleanField(
        label=_("Annotators may edit answers"),
        required=False,
        help_text=_(
            "Those of pairs that they have answered. An edited text is a new answer, and may be compared with the one "
            "before at once. Leads, engineers and owners may always edit."
        ),
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

    @staticmethod
    def initial_of(project: Project) -> dict[str, Any]:
        bound = project.judge_bound
        return {
            "votes_per_comparison": project.votes_per_comparison,
            "annotators_may_override": project.annotators_may_override,
            "annotators_may_edit": project.annotators_may_edit,
            "random_share": project.random_share,
            "judge_bound": None if bound is None else round(100 * bound, 2),
        }

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
    task = forms.ChoiceField(
        label=_("Task"),
        required=False,
        choices=[(task.name, gettext_lazy(task.word)) for task in TASKS.values()],
        help_text=_(
            "What annotators do. A ranking, or the best and the worst, is asked of sets of answers to one prompt; each "
            "counts as a vote on every pair of the set. Pairs that are in no set are compared as pairs. A rating is "
            "asked of every answer by itself; two ratings by one person count as their vote on the pair."
        ),
    )
    set_size = forms.IntegerField(
        label=_("Answers at once, in a set"),
        required=False,
        min_value=FEWEST_IN_SET,
        max_value=MOST_IN_SET,
        help_text=_("Every prompt with three or more answers gets sets of at most this many."),
    )

    criteria = forms.CharField(
        label=_("Criteria"),
        required=False,
        max_length=4000,
        help_text=_(
            "Empty: each pair is asked about once. Otherwise one criterion a line, as “name: question”. Each pair is "
            "then asked about by each of them in turn, and each has its own votes, judges and labels. Meanwhile gold "
            "pairs are not mixed in for people."
        ),
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )
    reasons = forms.CharField(
        label=_("Short reasons"),
        required=False,
        max_length=(LONGEST_REASON + 2) * MOST_REASONS,
        help_text=_(
            "One a line; annotators can choose any of them with an answer to a pair (key w), beside a note. They are "
            "counted in Reports and exported with the vote; labels do not depend on them."
        ),
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    asks_marks = forms.BooleanField(
        label=_("Let people mark passages"),
        required=False,
        help_text=_(
            "While they compare a pair, annotators can mark passages of either answer as good or bad, with one of the "
            "short reasons if there are any (key m, or by selecting text). Marks are counted in Reports and exported "
            "with the vote; labels do not depend on them."
        ),
    )
    rubric = forms.CharField(
        label=_("Rubric"),
        required=False,
        max_length=8000,
        help_text=_(
            "For the task “Rate each answer”: one item a line, as “name: question” for a scale from 1 to 5, or "
            "“name (yes/no): question”. A weight stands in the brackets too: “name (yes/no, weight 2): question”. A "
            "prompt can add items of its own in its metadata, under “rubric”."
        ),
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
    )

    @staticmethod
    def initial_of(current: Guideline | None) -> dict[str, Any]:
        """The current version's, which a new one changes; without one what is usual."""
        if current is None:
            return {"task": PAIR.name, "set_size": USUAL_IN_SET}
        said = {name: getattr(current, name) for name in ("text", "asks_strength", "asks_marks", "task", "set_size")}
        written = {"criteria": criteria_written(current.asked), "rubric": current.rubric_text}
        return said | written | {"reasons": reasons_written(current.reasons)}

    def clean_criteria(self) -> tuple[Criterion, ...]:
        try:
            return criteria_read(self.cleaned_data["criteria"])
        except BadCriterion as error:
            raise forms.ValidationError(str(error)) from error

    def clean_reasons(self) -> tuple[str, ...]:
        try:
            return reasons_read(self.cleaned_data["reasons"])
        except BadReason as error:
            raise forms.ValidationError(str(error)) from error

    def clean_rubric(self) -> tuple[Item, ...]:
        try:
            return rubric_read(self.cleaned_data["rubric"])
        except BadRubric as error:
            raise forms.ValidationError(str(error)) from error

    def clean_task(self) -> str:
        return self.cleaned_data["task"] or PAIR.name

    def clean_set_size(self) -> int:
        return int(self.cleaned_data["set_size"] or USUAL_IN_SET)


class GroupForm(forms.Form):
    """A group of the project's members."""

    name = forms.CharField(label=_("Name of the group"), max_length=MemberGroup.LONGEST_NAME)
    members = forms.ModelMultipleChoiceField(
        User.objects.none(),
        label=_("Members of the group"),
        required=False,
        to_field_name="username",
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members: Any = self.fields["members"]
        members.queryset = User.objects.filter(memberships__project=project).order_by("username")

    @staticmethod
    def initial_of(group: MemberGroup) -> dict[str, Any]:
        return {"name": group.name, "members": list(group.members.all())}


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
