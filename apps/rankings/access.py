"""Access to annotation and review. Absent and forbidden look the same: 404."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, F, FilteredRelation, OuterRef, Q, QuerySet, Subquery
from django.http import Http404

from apps.accounts.models import User
from apps.labels.models import PairFlag
from apps.labels.selectors import standing_votes
from apps.projects import access
from apps.projects.access import Person
from apps.projects.models import Guideline, Membership, Project, Role
from apps.projects.selectors import Asks
from apps.prompts.models import ready
from apps.rankings.batch_models import Batch
from apps.rankings.models import OPEN, Assignment, Place
from apps.rankings.selectors.flags import all_flags_of
from apps.samples.models import Comparison, Completion
from prefloop.tasks import PAIR
from prefloop.types import OUTCOMES

_PLACE = ("id", "reached", "recent", "rater", "n_done", "n_blocked", "n_gold", "n_labels", "pause", "is_qualified")


def person(user: Person) -> User:
    """The signed-in user; 404 for anybody else, though every page here asks for a sign-in first."""
    if not isinstance(user, User):
        raise Http404("no such page")
    return user


def project_for_annotate(user: Person, slug: str) -> Project:
    return access.project_for(user, slug, Role.ANNOTATOR)


def project_for_review(user: Person, slug: str) -> Project:
    """The project for leads and above; also for annotators if the project lets them correct judges."""
    project = access.project_for(user, slug, Role.ANNOTATOR)
    if not may_review(user, project):
        raise Http404("no such page")
    return project


def project_for_adjudication(user: Person, slug: str) -> Project:
    """The project for leads and above, who see other people's votes and decide where they split."""
    return access.project_for(user, slug, Role.LEAD)


def comparison_for_adjudication(user: Person, slug: str, comparison_id: int) -> Comparison:
    return comparison_for(user, slug, comparison_id, Role.LEAD)


def flag_for_lead(user: Person, slug: str, pk: int) -> PairFlag:
    """A flag of a project in which the person is a lead or above."""
    rows = all_flags_of(project_for_adjudication(user, slug))
    flag = rows.select_related("comparison__project", "completion__project").filter(pk=pk).first()
    if flag is None:
        raise Http404("no such flag")
    return flag


def batch_for_lead(user: Person, slug: str, pk: int) -> Batch:
    """A batch of a project in which the person is a lead or above."""
    rows = Batch.objects.filter(project=project_for_adjudication(user, slug), pk=pk).select_related("project")
    batch = rows.first()
    if batch is None:
        raise Http404("no such batch")
    return batch


def member_of(project: Project, username: str) -> User:
    """A member of a project, by name."""
    return _member(Membership.objects.filter(project=project), username)


def annotator_of(project: Project, username: str) -> User:
    """An annotator of a project, by name: whoever may have to practise."""
    return _member(Membership.objects.filter(project=project, role=Role.ANNOTATOR), username)


def _member(rows: QuerySet[Membership], username: str) -> User:
    member = rows.filter(user__username=username).select_related("user").first()
    if member is None:
        raise Http404("no such member")
    return member.user


def may_review(user: Person, project: Project) -> bool:
    least = Role.ANNOTATOR if project.annotators_may_override else Role.LEAD
    return access.has_role(user, project, least)


def may_edit(user: Person, project: Project) -> bool:
    """Whether the person may edit answers: leads and above, and annotators where the project says so."""
    least = Role.ANNOTATOR if project.annotators_may_edit else Role.LEAD
    return access.has_role(user, project, least)


@dataclass(frozen=True, slots=True)
class ToEdit:
    comparison: Comparison
    answer: Completion
    criterion: str  # by which an edited answer would be the better one


def _chosen_for_edit(user: User, slug: str, comparison_id: int, side: str) -> ToEdit:
    """An answer of a pair on which the person's vote stands, by the side on which they were shown it."""
    comparison = comparison_for(user, slug, comparison_id)
    mine = standing_votes(None).filter(comparison=comparison, user=user, choice__in=OUTCOMES).order_by("-pk").first()
    if mine is None or not mine.order or not may_edit(user, comparison.project):
        raise Http404("no such answer")
    is_first = (side == "left") == (mine.order == "01")
    return ToEdit(comparison, comparison.first if is_first else comparison.second, mine.criterion)


def _reviewed_for_edit(user: User, slug: str, comparison_id: int, side: str, criterion: str) -> ToEdit:
    """An answer of a pair whose labels the person may see, by its place in the pair."""
    comparison = comparison_for_review(user, slug, comparison_id)
    if side not in ("first", "second") or not may_edit(user, comparison.project):
        raise Http404("no such answer")
    return ToEdit(comparison, comparison.first if side == "first" else comparison.second, criterion)


def answer_for_edit(user: User, slug: str, comparison_id: int, side: str, criterion: str = "") -> ToEdit:
    """An answer that the person may edit: left or right, as they were shown it, or first or second of the pair."""
    if side in ("left", "right"):
        return _chosen_for_edit(user, slug, comparison_id, side)
    return _reviewed_for_edit(user, slug, comparison_id, side, criterion)


def may_see_people(user: Person, project: Project) -> bool:
    """Whether other people's votes are shown: only to leads and above, since an annotator's own votes must stay
    blind.
    """
    return access.has_role(user, project, Role.LEAD)


def comparison_for(user: Person, slug: str, comparison_id: int, role: Role = Role.ANNOTATOR) -> Comparison:
    """A comparison of a project in which the person has at least `role`."""
    return _comparison(access.project_for(user, slug, role), comparison_id)


def comparison_for_review(user: Person, slug: str, comparison_id: int) -> Comparison:
    return _comparison(project_for_review(user, slug), comparison_id)


def _comparison(project: Project, comparison_id: int) -> Comparison:
    rows = Comparison.objects.filter(ready(), project=project).select_related("project", "prompt", "first", "second")
    comparison = rows.defer("first__token_ids", "second__token_ids").filter(pk=comparison_id).first()
    if comparison is None:
        raise Http404("no such comparison")
    return comparison


def assignment_for_write(
    user: Person, assignment_id: int, slug: str | None = None, *, texts: bool = False
) -> Assignment:
    """A person's own assignment in a project they still belong to, with their place in its queue; with `texts`, the two
    answers are read along.
    """
    holder = person(user)
    newest = Guideline.objects.filter(project=OuterRef("project")).order_by("-version")
    shared = Place.objects.filter(project=OuterRef("project"), user=None)
    mine = Assignment.objects.filter(project=OuterRef("project"), user=holder, state=OPEN).order_by().values("user")
    rows = (
        Assignment.objects.filter(pk=assignment_id, user=holder, project__memberships__user=holder)
        .select_related("project", "user")
        .annotate(
            at=FilteredRelation("project__places", condition=Q(project__places__user=holder)),
            version=Subquery(newest.values("version")[:1]),
            asks_strength=Subquery(newest.values("asks_strength")[:1]),
            reasons=Subquery(newest.values("reasons")[:1]),
            asks_marks=Subquery(newest.values("asks_marks")[:1]),
            task=Subquery(newest.values("task")[:1]),
            n_open=Subquery(shared.values("n_open")),
            n_gold=Subquery(shared.values("n_gold")),
            n_held=Subquery(mine.annotate(n=Count("pk")).values("n")),
            **{f"at_{name}": F(f"at__{name}") for name in _PLACE},
        )
    )
    if slug is not None:
        rows = rows.filter(project__slug=slug)
    if texts:
        rows = rows.select_related("comparison__first", "comparison__second")
        rows = rows.defer("comparison__first__token_ids", "comparison__second__token_ids")
    assignment = rows.first() if holder.is_active else None
    if assignment is None:
        raise Http404("no such assignment")
    read = vars(assignment)
    if read["at_id"] is not None:
        there = {name: read[f"at_{name}"] for name in _PLACE}
        assignment.place = Place(project_id=assignment.project_id, user_id=holder.pk, **there)
    assignment.guideline_now = "" if read["version"] is None else f"v{read['version']}"
    assignment.asks_now = Asks(bool(read["asks_strength"]), tuple(read["reasons"] or ()), bool(read["asks_marks"]))
    assignment.task_now = read["task"] or PAIR.name
    assignment.n_open_now, assignment.n_gold_now = read["n_open"], read["n_gold"] or 0
    assignment.n_held_now = read["n_held"] or 0
    return assignment
