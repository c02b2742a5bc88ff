"""A project, its members, and its guidelines."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.models import TimeStamped
from prefloop.criteria import Criterion
from prefloop.rubrics import Item, rubric_loaded, rubric_written
from prefloop.tasks import PAIR, TASKS, USUAL_IN_SET, Task


class Role(models.TextChoices):
    """Ordered: each role may do everything that the ones before it may."""

    ANNOTATOR = "annotator", _("Annotator")
    LEAD = "lead", _("Lead")
    ENGINEER = "engineer", _("Engineer")
    OWNER = "owner", _("Owner")


class Project(TimeStamped):
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    criterion = models.TextField(blank=True)  # what "better" means here, shown to people and given to judges
    world = models.CharField(max_length=40, blank=True)  # "letters" where a known truth exists, else empty
    votes_per_comparison = models.PositiveSmallIntegerField(default=1)
    annotators_may_override = models.BooleanField(default=True)
    annotators_may_edit = models.BooleanField(default=False)  # the answers of pairs that they have answered
    random_share = models.PositiveSmallIntegerField(default=20)  # per cent of the pairs that Annotate gives at random
    gold_share = models.PositiveSmallIntegerField(
        default=0
    )  # per cent of the pairs, for people and judges, that is gold
    # per cent of the practice pairs that must be right before an annotator gets real ones; None: nobody practises
    practice_bound = models.PositiveSmallIntegerField(null=True)
    # of the open batches, in their order: the lane of each and whom it is for, [] everybody (apps/rankings keeps it)
    batch_lanes = models.JSONField(default=list)
    pause = models.CharField(max_length=300, blank=True)  # why nobody is given pairs to annotate now; "": they are
    label_budget = models.PositiveIntegerField(null=True)  # answers by people here, after which no pair is given
    label_price = models.DecimalField(max_digits=10, decimal_places=4, null=True)  # of one answer
    label_currency = models.CharField(max_length=3, default="USD")
    # how the judges' labels become one where no person has spoken (DESIGN 3)
    label_judge = models.CharField(max_length=120, blank=True)
    # every named criterion that people, judges or imports have labelled by: the name of its label judge, "" if none is
    # chosen (services.criteria_know keeps it)
    known_criteria = models.JSONField(default=dict)
    # the agreement with people below which the label judge is reported (apps/judging/watch.py); None: it is not watched
    judge_bound = models.FloatField(null=True)
    judge_watched_at = models.DateTimeField(null=True)
    criteria = models.JSONField(default=list)  # names of those that people are asked by (guideline_add keeps it)
    # whether the guideline in force asks for ratings of single answers (guideline_add keeps it)
    asks_ratings = models.BooleanField(default=False)
    retention = models.JSONField(default=dict)  # days that each kind of data is kept (apps/removal/retention.py)
    retained_at = models.DateTimeField(null=True)  # when what had outlived them was last removed
    # what is being deleted of it, a kind of apps/removal/services.py; its jobs wait meanwhile. "": nothing
    removing = models.CharField(max_length=8, blank=True, default="", db_default="")
    n_erasures = models.PositiveIntegerField(default=0)  # deletions of a prompt's or person's data
    listened = models.JSONField(default=list)  # events that a webhook hears of (apps/events/services.py keeps it)

    def __str__(self) -> str:
        return self.name


class Membership(TimeStamped):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=12, choices=Role.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.project_id}"


class MemberGroup(TimeStamped):
    """Some of a project's members under a name, so that work can be given to all of them.

    A deleted one keeps its members, for the batches that are for it (apps/rankings/batch_models.py).
    """

    LONGEST_NAME = 60

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=LONGEST_NAME)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(deleted_at__isnull=True), name="group_name_once"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Invitation(TimeStamped):
    """A link that adds one person, once, with a role. Only its hash is kept."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=12, choices=Role.choices)
    note = models.CharField(max_length=120, blank=True)  # who it is for
    token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"invitation to {self.project_id}"


class Guideline(TimeStamped):
    """One version of the instructions for annotators; a vote stores the version it was given under."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField()
    asks_strength = models.BooleanField(default=False)  # whether people say how much better the better answer is
    task = models.CharField(max_length=12, default=PAIR.name)  # what people are asked to do (prefloop/tasks.py)
    set_size = models.PositiveSmallIntegerField(default=USUAL_IN_SET)  # how many answers a task of sets asks about
    # what each pair is asked by, one after the other: name and question (prefloop/criteria.py); empty: one, unnamed
    criteria = models.JSONField(default=list)
    reasons = models.JSONField(default=list)  # short ones that an answer may be given with (prefloop/reasons.py)
    asks_marks = models.BooleanField(default=False)  # whether people may mark passages of the answers of a pair
    rubric = models.JSONField(default=list)  # by which single answers are rated (prefloop/rubrics.py)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "version"], name="guideline_version_once"),
            models.CheckConstraint(condition=Q(version__gte=1), name="guideline_version_from_one"),
        ]

    def __str__(self) -> str:
        return f"guideline {self.name} of {self.project_id}"

    @property
    def name(self) -> str:
        """What a vote stores: "v3"."""
        return f"v{self.version}"

    @property
    def declared(self) -> Task:
        """The declaration of its task."""
        return TASKS[self.task]

    @property
    def asked(self) -> tuple[Criterion, ...]:
        """The named criteria that its readers are asked by."""
        return tuple(Criterion(name, question) for name, question in self.criteria)

    @property
    def rubric_items(self) -> tuple[Item, ...]:
        """The rubric by which its readers rate single answers."""
        return rubric_loaded(self.rubric)

    @property
    def rubric_text(self) -> str:
        """The rubric as it is written in the form, one item a line."""
        return rubric_written(self.rubric_items)
