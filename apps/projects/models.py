"""A project, its members, and its guidelines."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped


class Role(models.TextChoices):
    """Ordered: each role may do everything that the ones before it may."""

    ANNOTATOR = "annotator", "Annotator"
    LEAD = "lead", "Lead"
    ENGINEER = "engineer", "Engineer"
    OWNER = "owner", "Owner"


class Project(TimeStamped):
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    criterion = models.TextField(blank=True)  # what "better" means here, shown to people and given to judges
    world = models.CharField(max_length=40, blank=True)  # "letters" where a known truth exists, else empty
    votes_per_comparison = models.PositiveSmallIntegerField(default=1)
    annotators_may_override = models.BooleanField(default=True)
    random_share = models.PositiveSmallIntegerField(default=20)  # per cent of the pairs that Annotate gives at random
    # how the judges' labels become one where no person has spoken (DESIGN 3)
    label_judge = models.CharField(max_length=120, blank=True)
    # the agreement with people below which the label judge is reported (apps/judging/watch.py); None: it is not watched
    judge_bound = models.FloatField(null=True)
    judge_watched_at = models.DateTimeField(null=True)
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
