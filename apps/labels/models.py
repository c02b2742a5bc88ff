"""Judges, all labels by judges and people, and the effective label.

Verdicts, votes, rankings and overrides are events: only ever appended. A Preference is derived from them and can be
recomputed at any time. The tables keep the names of the apps that first had these models (`app_label`), so that no
database has to change (docs/decisions/0007-labels-keep-their-tables.md).
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.core.models import TimeStamped
from apps.jobs.models import JobGroup
from apps.labels.gold_models import GoldItem as GoldItem
from apps.labels.pair_flags import PairFlag as PairFlag
from apps.labels.ranking_models import Ranking as Ranking
from apps.labels.rating_models import RATED as RATED
from apps.labels.rating_models import Rating as Rating
from apps.labels.review_models import ReviewCount as ReviewCount
from apps.labels.review_models import ReviewItem as ReviewItem
from apps.labels.types import BLIND
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.models import Project
from apps.samples.models import Comparison, Completion
from prefloop.criteria import LONGEST_NAME
from prefloop.judging.kinds import KINDS, LLM, POLICY, REWARD_MODEL, Joint, Kind, kind_of, refusal
from prefloop.judging.modes import MODES
from prefloop.judging.tournament import n_meetings
from prefloop.types import OUTCOMES, STRENGTHS, UNLABELLED

OUTCOME_CHOICES = [(outcome, outcome.replace("_", " ")) for outcome in OUTCOMES]
STRENGTH_CHOICES = [(strength, strength.replace("_", " ")) for strength in STRENGTHS]
VOTE_CHOICES = [*OUTCOME_CHOICES, *((said, said.replace("_", " ")) for said in UNLABELLED), ("withdrawn", "withdrawn")]


def kind_choices() -> list[tuple[str, str]]:
    """Return every kind of judge with its label; computed when needed, so that a new kind needs no migration."""
    return [(kind.name, gettext(kind.label)) for kind in KINDS.values()]


def mode_choices() -> list[tuple[str, str]]:
    """Return every way of answering with what it is called; computed when needed, like `kind_choices`."""
    return [(mode, gettext(declared.about)) for mode, declared in MODES.items()]


class Judge(TimeStamped):
    """A judge's settings never change: an edit makes the next version."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judges")
    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField(default=1)
    kind = models.CharField(max_length=16, choices=kind_choices)
    order_policy = models.CharField(
        max_length=12,
        default="both_agree",
        choices=[
            ("both_agree", _("both orders must agree")),
            ("average", _("average of both orders")),
            ("random", _("one random order")),
        ],
    )
    endpoint = models.ForeignKey(Endpoint, null=True, on_delete=models.PROTECT, related_name="judges")
    checkpoint = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="judges")
    template = models.TextField(blank=True)
    criterion = models.TextField(blank=True)  # what it is told that "better" means
    # which of the project's criteria it judges by; empty: the only, unnamed one. Every version has the same
    criterion_name = models.CharField(max_length=LONGEST_NAME, blank=True)
    mode = models.CharField(max_length=12, default="text", choices=mode_choices)
    # noise, soft (world); temperature, max_tokens, samples, tie_delta (llm); members, rule, weights (ensemble);
    # temperature, top_p, max_tokens, samples, seed (policy)
    options = models.JSONField(default=dict)
    is_simulated = models.BooleanField(default=False)
    retired_at = models.DateTimeField(null=True)
    below_since = models.DateTimeField(null=True)  # its agreement is below the project's bound; no setting of it

    class Meta:
        app_label = "judging"
        constraints = [
            models.UniqueConstraint(fields=["project", "name", "version"], name="judge_version_once"),
            models.CheckConstraint(
                condition=~Q(kind=REWARD_MODEL.name) | Q(checkpoint__isnull=False),
                name="judge_reward_model_has_weights",
            ),
            models.CheckConstraint(
                condition=~Q(kind=POLICY.name) | Q(checkpoint__isnull=False), name="judge_policy_has_weights"
            ),
            models.CheckConstraint(
                condition=~Q(kind=LLM.name) | Q(endpoint__isnull=False), name="judge_llm_has_endpoint"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def at_once(self) -> int:
        """How many questions one job asks it at the same time."""
        return self.endpoint.at_once if self.endpoint is not None else self.declared.at_once

    @property
    def declared(self) -> Kind:
        """The declaration of its kind."""
        return kind_of(self.kind)

    @property
    def gives_scores(self) -> bool:
        """Whether it scores single answers, and compares by its scores."""
        return self.declared.gives_scores(self.mode)

    @property
    def p_from_scores(self) -> bool:
        """Whether σ of the difference of two of its scores is a probability: a tournament's scores are log-odds."""
        return not self.gives_scores or self.declared.p_from_scores

    @property
    def scale_is_shared(self) -> bool:
        """Whether its scores of answers to different prompts can be compared: a tournament's can't."""
        return self.gives_scores and self.declared.scale_is_shared

    def calls_for_scores(self, n: int) -> int:
        """How many calls it takes to score n answers to one prompt."""
        if self.gives_scores:
            return n * int(self.options.get("samples", 1))
        return n_meetings(n) * (1 if self.order_policy == "random" else 2)

    def refusal(self, joint: Joint) -> str:
        """Say in one sentence why it can't be used at this joint; "" if it can."""
        return refusal(self.declared, joint, self.name, self.mode)


class JudgingRun(TimeStamped):
    """A run of one judge on chosen comparisons."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judging_runs")
    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="runs")
    n_comparisons = models.PositiveIntegerField(default=0)
    seed = models.BigIntegerField(default=0)
    purpose = models.CharField(max_length=40, default="manual")
    retry_states = models.JSONField(default=list)  # ask again where every verdict so far is in one of these states
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="judging_runs")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        app_label = "judging"

    def __str__(self) -> str:
        return f"judging run {self.pk}"

    @property
    def comparison_ids(self) -> list[int]:
        """All of its comparisons, in the order in which they are asked."""
        return [pk for ids in self.parts.order_by("start").values_list("ids", flat=True) for pk in ids]


class JudgingPart(models.Model):
    """The comparisons that one job of a judging run asks about, frozen when the run is made: a job reads no others."""

    run = models.ForeignKey(JudgingRun, on_delete=models.CASCADE, related_name="parts", db_index=False)
    start = models.PositiveIntegerField()  # place of the first among the run's
    ids = models.JSONField()

    class Meta:
        app_label = "judging"
        constraints = [models.UniqueConstraint(fields=["run", "start"], name="judging_part_once")]

    def __str__(self) -> str:
        return f"{len(self.ids)} comparisons of judging run {self.run_id} from {self.start} on"


class Verdict(TimeStamped):
    """A judge's label from one call. `order`: which of the pair it was shown first ("01": the canonical first).

    Only ever appended; `outcome` is canonical; `p_first` is the probability that the canonical first is better.
    """

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="verdicts", db_index=False)  # verdict_read
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="verdicts")
    run = models.ForeignKey(JudgingRun, null=True, on_delete=models.SET_NULL, related_name="verdicts")
    # empty: shown in no order, since it follows from the judge's ranking (Ranking)
    order = models.CharField(
        max_length=2, blank=True, choices=[("01", "first shown first"), ("10", "second shown first")]
    )
    sample = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(
        max_length=12,
        choices=[
            ("ok", "ok"),
            ("unparseable", "unparseable"),
            ("error", "error"),
            ("skipped", "skipped"),
            ("inconsistent", "inconsistent"),  # an ensemble whose members disagree
        ],
    )
    outcome = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    p_first = models.FloatField(null=True)
    raw = models.TextField(blank=True)
    rationale = models.TextField(blank=True)
    usage = models.JSONField(default=dict)
    seconds = models.FloatField(null=True)
    flags = models.JSONField(default=list)  # why a person should look: verdict-in-answer, control-token, floored, …

    class Meta:
        app_label = "judging"
        constraints = [
            models.UniqueConstraint(fields=["judge", "comparison", "order", "sample"], name="verdict_once"),
            models.CheckConstraint(
                condition=(Q(state="ok") & ~Q(outcome="")) | (~Q(state="ok") & Q(outcome="")),
                name="verdict_outcome_iff_ok",
            ),
            models.CheckConstraint(
                condition=Q(p_first__isnull=True) | Q(p_first__gte=0, p_first__lte=1), name="verdict_p_in_unit"
            ),
        ]
        # all that reports read, without the replies
        indexes = [
            models.Index(
                fields=["judge", "comparison", "order", "sample", "state", "outcome", "p_first"], name="verdict_read"
            )
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.comparison_id}: {self.outcome or self.state}"


class Score(TimeStamped):
    """A judge's score of one completion. A reward model's scores are never comparable across prompts.

    `flag`: the value is 1 or 0 and only says whether the answer is desirable, as imported single answers have it.
    """

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="scores")
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="scores")
    sample = models.PositiveSmallIntegerField(default=0)
    run = models.ForeignKey(JudgingRun, null=True, on_delete=models.SET_NULL, related_name="scores")
    state = models.CharField(max_length=12, default="ok")
    value = models.FloatField(null=True)
    flag = models.BooleanField(default=False)
    raw = models.TextField(blank=True)
    rationale = models.TextField(blank=True)
    usage = models.JSONField(default=dict)
    seconds = models.FloatField(null=True)

    class Meta:
        app_label = "judging"
        constraints = [
            models.UniqueConstraint(fields=["judge", "completion", "sample"], name="score_once"),
            models.CheckConstraint(
                condition=Q(flag=False) | Q(value__isnull=False, value__in=(0.0, 1.0)), name="score_flag_is_1_or_0"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.completion_id}: {self.value}"


class Vote(TimeStamped):
    """A blind judgement. A person's label by a criterion is their last vote on a comparison; `withdrawn` undoes it."""

    # vote_latest begins with it
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="votes", db_index=False)
    assignment = models.ForeignKey("rankings.Assignment", null=True, on_delete=models.SET_NULL, related_name="votes")
    # vote_of_person begins with it
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="votes", db_index=False
    )
    rater = models.CharField(max_length=150)  # the username, or the name an import gave
    criterion = models.CharField(max_length=LONGEST_NAME, blank=True)  # by which it was said; empty: the unnamed one
    choice = models.CharField(max_length=10, choices=VOTE_CHOICES)
    # by how much the chosen answer is better; empty where the guideline did not ask
    strength = models.CharField(max_length=12, blank=True, choices=STRENGTH_CHOICES)
    order = models.CharField(max_length=2, blank=True)
    at = models.DateTimeField(null=True)  # when it was said (an import keeps the original time)
    seconds = models.FloatField(null=True)
    guideline = models.CharField(max_length=40, blank=True)  # the version that was on the screen
    reason = models.TextField(blank=True)
    reasons = models.JSONField(default=list)  # short ones that were chosen, of those that this guideline has
    marks = models.JSONField(default=list)  # passages of the answers that were marked, as prefloop/marks.py writes them
    adjudication = models.BooleanField(default=False)  # given seeing the votes of people who split; never a blind one
    # said by editing the first answer into the second, which is the better one; beside adjudications, never a blind one
    by_edit = models.BooleanField(default=False)
    # whether the pair was drawn at random, rather than chosen because judges doubt it; None: neither, or not known
    by_chance = models.BooleanField(null=True)
    # where this vote is what a ranking says of the pair, and was not given by itself
    ranking = models.ForeignKey("Ranking", null=True, on_delete=models.CASCADE, related_name="votes", db_index=False)
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")

    class Meta:
        app_label = "rankings"
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "rater", "adjudication", "criterion"],
                condition=Q(supersedes__isnull=True),
                name="vote_first_once_per_rater",
            ),
            models.CheckConstraint(
                condition=Q(strength="") | Q(choice__in=["first", "second"]), name="vote_strength_of_a_better_answer"
            ),
            models.CheckConstraint(condition=Q(by_edit=False) | Q(adjudication=True), name="vote_by_edit_is_not_blind"),
        ]
        indexes = [
            models.Index(fields=["comparison", "rater", "id"], name="vote_latest"),
            models.Index(fields=["user", "id"], condition=Q(user__isnull=False), name="vote_of_person"),
            models.Index(fields=["ranking"], condition=Q(ranking__isnull=False), name="vote_of_ranking"),
        ]

    def __str__(self) -> str:
        return f"{self.rater} on {self.comparison_id}: {self.choice}"


class Override(TimeStamped):
    """A person's decision after seeing a judge's verdict: to agree, or to correct it with a reason.

    It replaces a training label; it never counts as a vote, in a majority, or as truth for a judge. Agreeing where the
    judge has no label (its orders disagree, its reply was unreadable) leaves the pair out: `choice` is empty. The
    criterion is its judge's.
    """

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="overrides")
    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="overrides")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="overrides")
    rater = models.CharField(max_length=150)
    kind = models.CharField(
        max_length=10, choices=[("agree", "agree"), ("override", "override"), ("withdrawn", "withdrawn")]
    )
    choice = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    judge_outcome = models.CharField(max_length=12, blank=True)  # what the judge's label was at that moment
    reason = models.TextField(blank=True)
    at = models.DateTimeField(null=True)
    together = models.CharField(max_length=32, blank=True)  # shared by decisions made, and undone, in one step
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")

    class Meta:
        app_label = "rankings"
        constraints = [
            models.CheckConstraint(condition=~Q(kind="override") | ~Q(choice=""), name="override_says_what_instead"),
        ]
        indexes = [models.Index(fields=["comparison", "id"], name="override_latest")]

    def __str__(self) -> str:
        return f"{self.rater} {self.kind} on {self.comparison_id}"

    @property
    def is_correction(self) -> bool:
        """Whether it differs from the judge's label; choosing the judge's own label is agreeing."""
        return self.kind == "override" and self.choice != self.judge_outcome


class Exclusion(TimeStamped):
    """A person whose votes and decisions do not count, from a date or all of them. Nothing is deleted: lifting the
    exclusion makes them count again.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="exclusions")
    rater = models.CharField(max_length=150)  # as votes and decisions name them
    since = models.DateTimeField(null=True)  # when the first label was given that does not count; None: all of them
    reason = models.TextField(blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "rater"], condition=Q(lifted_at__isnull=True), name="exclusion_once_per_person"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rater} is excluded from {self.project_id}"


class Preference(models.Model):
    """The effective label of a comparison by a criterion: override > adjudication > human majority > edit > judges."""

    # preference_once begins with it
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="preferences", db_index=False)
    criterion = models.CharField(max_length=LONGEST_NAME, blank=True)  # empty: the only, unnamed one
    outcome = models.CharField(max_length=12)  # an Outcome, or "inconsistent"
    p_first = models.FloatField(null=True)  # None where the outcome makes no pair
    source = models.CharField(max_length=140)  # override | adjudication | human | edit | judge:NAME
    label_ids = models.JSONField(default=list)  # ["vote:12", "verdict:7", …]
    derived_at = models.DateTimeField()

    class Meta:
        app_label = "rankings"
        constraints = [models.UniqueConstraint(fields=["comparison", "criterion"], name="preference_once")]
        indexes = [models.Index(fields=["source"], name="preference_by_source")]

    def __str__(self) -> str:
        return f"{self.comparison_id}: {self.outcome} ({self.source})"

    @property
    def is_human(self) -> bool:
        """Whether it comes from blind votes, which an annotator must not see before their own."""
        return self.source in BLIND
