"""Services for projects: members, invitations, guidelines, the label policy. Every change is audited."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify

from apps.accounts.models import User
from apps.accounts.services import user_create
from apps.core.listeners import Listeners
from apps.core.services import audit
from apps.projects.access import has_role
from apps.projects.groups import groups_leave
from apps.projects.models import Guideline, Invitation, Membership, Project, Role
from prefloop.criteria import Criterion, name_checked
from prefloop.reasons import reasons_checked
from prefloop.rubrics import Item, rubric_stored
from prefloop.tasks import FEWEST_IN_SET, MOST_IN_SET, PAIR, TASKS, USUAL_IN_SET
from prefloop.types import PrefloopError

INVITATION_LIFETIME = timedelta(days=7)
MAX_VOTES = 25
SEATS_WANTED_CHANGED: Listeners[[Project]] = Listeners()
TASK_CHANGED: Listeners[[Project, Guideline]] = Listeners()  # with the new version, where the task is or was no pairs
MEMBERS_CHANGED: Listeners[[Project]] = Listeners()
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class ProjectRefused(PrefloopError):
    """The project cannot be made or changed as asked."""


class LastOwner(ProjectRefused):
    def __init__(self) -> None:
        super().__init__("A project keeps at least one owner: make someone else an owner first.")


class InvitationInvalid(PrefloopError):
    """Used, revoked, expired or never made; the message is the same in all cases."""

    def __init__(self) -> None:
        super().__init__("This invitation is invalid or has expired. Ask for a new one.")


def project_slug(name: str) -> str:
    """Make an address from a name: "Thank-you letters" -> "thank-you-letters". Raises ProjectRefused."""
    slug = slugify(name)[:64].strip("-")
    if not slug:
        raise ProjectRefused("Give the project a name with at least one letter or digit.")
    return slug


def project_create(
    *, name: str, owner: User | None, slug: str = "", description: str = "", criterion: str = "", world: str = ""
) -> Project:
    """Make a project; `owner` (None: nobody yet) becomes its owner. Raises ProjectRefused."""
    name = name.strip()
    slug = slug or project_slug(name)
    if not _SLUG.fullmatch(slug) or len(slug) > 64:
        raise ProjectRefused("An address has at most 64 characters: small letters, digits and single hyphens.")
    try:
        with transaction.atomic():
            project = Project.objects.create(
                name=name or slug, slug=slug, description=description, criterion=criterion, world=world
            )
            if owner is not None:
                Membership.objects.create(project=project, user=owner, role=Role.OWNER)
            audit(actor=owner, verb="project.create", target=f"project:{slug}", project=project)
    except IntegrityError:
        raise ProjectRefused(f"The address {slug!r} is taken: choose another name.") from None
    return project


def project_update(*, project: Project, actor: User | None, name: str, description: str, criterion: str) -> None:
    """Change a project's name and texts; its address stays."""
    if not name.strip():
        raise ProjectRefused("A project needs a name.")
    with transaction.atomic():
        project.name, project.description, project.criterion = name.strip(), description, criterion
        project.save(update_fields=["name", "description", "criterion"])
        audit(actor=actor, verb="project.update", target=f"project:{project.slug}", project=project)


def label_policy_set(
    *,
    project: Project,
    actor: User | None,
    votes_per_comparison: int,
    annotators_may_override: bool,
    random_share: int | None = None,
    judge_bound: float | None = None,
    annotators_may_edit: bool | None = None,
) -> None:
    """Set how many people vote on a comparison, whether annotators may override judges, which share of the pairs, in
    per cent, is given at random (None: as it is), the label judge's bound (None: it is not watched), and whether
    annotators may edit answers (None: as it is).
    """
    share = project.random_share if random_share is None else random_share
    if not 1 <= votes_per_comparison <= MAX_VOTES:
        raise ProjectRefused(f"Votes for each comparison must be between 1 and {MAX_VOTES}.")
    if not 0 <= share <= 100:
        raise ProjectRefused("The random share must be between 0 and 100 %.")
    with transaction.atomic():
        changes_seats = (project.votes_per_comparison, project.random_share) != (votes_per_comparison, share)
        project.votes_per_comparison = votes_per_comparison
        project.annotators_may_override = annotators_may_override
        project.random_share = share
        if annotators_may_edit is not None:
            project.annotators_may_edit = annotators_may_edit
        project.judge_bound, project.judge_watched_at = judge_bound, None  # looked at soon
        fields = ["votes_per_comparison", "annotators_may_override", "random_share", "judge_bound", "judge_watched_at"]
        fields.append("annotators_may_edit")
        project.save(update_fields=fields)
        if changes_seats:
            SEATS_WANTED_CHANGED.tell(project)
        audit(
            actor=actor,
            verb="project.label_policy",
            target=f"project:{project.slug}",
            project=project,
            data={
                "votes_per_comparison": votes_per_comparison,
                "annotators_may_override": annotators_may_override,
                "annotators_may_edit": project.annotators_may_edit,
                "random_share": share,
                "judge_bound": judge_bound,
            },
        )


def criteria_know(*, project: Project, label_judges: Mapping[str, str]) -> None:
    """Note named criteria that people, judges or imports label by, each with its label judge; "" leaves it as it is."""
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        known = dict(locked.known_criteria)
        for name, judge in label_judges.items():
            known[name_checked(name)] = judge or known.get(name, "")
        if known != locked.known_criteria:
            Project.objects.filter(pk=project.pk).update(known_criteria=known)
        project.known_criteria = known


def _lock_owners(project: Project) -> set[int]:
    """Lock the project's owner rows, so that two owners cannot leave at the same moment; give their users' ids."""
    owners = Membership.objects.select_for_update().filter(project=project, role=Role.OWNER)
    return set(owners.values_list("user_id", flat=True))


def member_add(*, project: Project, user: User, role: Role, actor: User | None) -> Membership:
    """Add a member, or give a member this role. Raises LastOwner."""
    with transaction.atomic():
        membership = Membership.objects.filter(project=project, user=user).first()
        if membership is not None:
            member_change_role(membership=membership, role=role, actor=actor)
            return membership
        membership = Membership.objects.create(project=project, user=user, role=role)
        MEMBERS_CHANGED.tell(project)
        audit(
            actor=actor,
            verb="member.add",
            target=f"user:{user.pk}",
            project=project,
            data={"role": str(role.value)},
        )
    return membership


def member_change_role(*, membership: Membership, role: Role, actor: User | None) -> None:
    """Give a member another role. Raises LastOwner if no owner would remain."""
    with transaction.atomic():
        owners = _lock_owners(membership.project)
        if role != Role.OWNER and owners == {membership.user_id}:
            raise LastOwner
        before, membership.role = membership.role, role
        membership.save(update_fields=["role"])
        audit(
            actor=actor,
            verb="member.role_change",
            target=f"user:{membership.user_id}",
            project=membership.project,
            data={"from": str(before), "to": str(role.value)},
        )


def member_remove(*, membership: Membership, actor: User | None) -> None:
    """Remove a member; their labels stay. Raises LastOwner."""
    with transaction.atomic():
        if _lock_owners(membership.project) == {membership.user_id}:
            raise LastOwner
        project, user_id = membership.project, membership.user_id
        membership.delete()
        groups_leave(project=project, user_id=user_id)
        MEMBERS_CHANGED.tell(project)
        # those that they made, themselves or for others, end with their place
        left = Invitation.objects.filter(project=project, created_by=user_id, used_at__isnull=True)
        left.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())
        audit(actor=actor, verb="member.remove", target=f"user:{user_id}", project=project)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def invitation_create(
    *, project: Project, role: Role, actor: User, now: datetime, note: str = ""
) -> tuple[Invitation, str]:
    """Make an invitation; return its row and its address, whose token is stored nowhere and never shown again."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        invitation = Invitation.objects.create(
            project=project,
            role=role,
            note=note[:120],
            token_hash=_hash(token),
            created_by=actor,
            expires_at=now + INVITATION_LIFETIME,
        )
        audit(
            actor=actor,
            verb="invitation.create",
            target=f"invitation:{invitation.pk}",
            project=project,
            data={"role": str(role.value)},
        )
    return invitation, f"{settings.BASE_URL.rstrip('/')}{reverse('projects:invitation', args=[token])}"


def invitation_revoke(*, invitation: Invitation, actor: User | None, now: datetime) -> None:
    with transaction.atomic():
        open_rows = Invitation.objects.filter(pk=invitation.pk, used_at__isnull=True, revoked_at__isnull=True)
        if open_rows.update(revoked_at=now) != 1:
            raise InvitationInvalid
        audit(
            actor=actor,
            verb="invitation.revoke",
            target=f"invitation:{invitation.pk}",
            project=invitation.project,
        )


def invitation_find(*, token: str, now: datetime) -> Invitation:
    """Find the open invitation of a token, if its creator may still give that role. Raises InvitationInvalid."""
    invitation = (
        Invitation.objects.select_related("project", "created_by")
        .filter(token_hash=_hash(token), used_at__isnull=True, revoked_at__isnull=True, expires_at__gt=now)
        .first()
    )
    if invitation is None or not _may_still_give(invitation):
        raise InvitationInvalid
    return invitation


def _may_still_give(invitation: Invitation) -> bool:
    """Say whether the creator of the invitation is still an owner, and so may give any role."""
    return has_role(invitation.created_by, invitation.project, Role.OWNER)


def invitation_accept(*, token: str, user: User, now: datetime) -> Membership:
    """Accept an invitation, once. A member keeps a higher role. Raises InvitationInvalid."""
    with transaction.atomic():
        invitation = invitation_find(token=token, now=now)
        open_rows = Invitation.objects.filter(pk=invitation.pk, used_at__isnull=True, revoked_at__isnull=True)
        if open_rows.update(used_at=now, used_by=user) != 1:
            raise InvitationInvalid
        order = list(Role)
        membership, is_new = Membership.objects.get_or_create(
            project=invitation.project, user=user, defaults={"role": invitation.role}
        )
        if is_new:
            MEMBERS_CHANGED.tell(invitation.project)
        elif order.index(Role(invitation.role)) > order.index(Role(membership.role)):
            membership.role = invitation.role
            membership.save(update_fields=["role"])
        audit(
            actor=user,
            verb="invitation.accept",
            target=f"invitation:{invitation.pk}",
            project=invitation.project,
            data={"role": str(membership.role)},
        )
    return membership


def invitation_accept_new(*, token: str, username: str, password: str, now: datetime) -> Membership:
    """Create an account and accept the invitation, both or neither. Raises InvitationInvalid, AccountRefused."""
    with transaction.atomic():
        invitation_find(token=token, now=now)
        user = user_create(username=username, password=password)
        return invitation_accept(token=token, user=user, now=now)


def guideline_add(
    *,
    project: Project,
    text: str,
    actor: User | None,
    asks_strength: bool = False,
    task: str = PAIR.name,
    set_size: int = USUAL_IN_SET,
    criteria: Sequence[Criterion] = (),
    reasons: Sequence[str] = (),
    asks_marks: bool = False,
    rubric: Sequence[Item] = (),
) -> Guideline:
    """Write the next version; earlier ones stay, since votes name the version they were given under.

    `asks_strength`: people also say how much better the better answer is. `task`: what they are asked to do; one of
    sets asks about `set_size` answers at once. `criteria`: each pair is asked by each of these in turn. `reasons`:
    short ones that people can choose with an answer. `asks_marks`: people may mark passages of the answers of a pair as
    good or bad. `rubric`: by what single answers are rated. What the current
    version says already makes no new one.
    """
    if not text.strip():
        raise ProjectRefused("The guidelines are empty: write what annotators should look for.")
    if task not in TASKS:
        raise ProjectRefused(f"There is no task {task!r}; there are: {', '.join(TASKS)}.")
    if not FEWEST_IN_SET <= set_size <= MOST_IN_SET:
        raise ProjectRefused(f"The answers at once must be between {FEWEST_IN_SET} and {MOST_IN_SET}.")
    if TASKS[task].of_answers and not rubric:
        raise ProjectRefused("To rate answers, people need a rubric: write at least one item.")
    if criteria and TASKS[task].of_answers:
        raise ProjectRefused("Named criteria are asked of pairs: an answer is rated by the items of the rubric.")
    if criteria and TASKS[task].of_sets:
        raise ProjectRefused("Named criteria are asked of pairs: choose the task “Compare two answers”.")
    said = {
        "text": text,
        "asks_strength": asks_strength,
        "task": task,
        "set_size": set_size,
        "criteria": [[one.name, one.question] for one in criteria],
        "reasons": list(reasons_checked(reasons)),
        "asks_marks": asks_marks,
        "rubric": rubric_stored(rubric),
    }
    try:
        with transaction.atomic():
            # what people are asked is written with the version that asks it: another save comes before, or after
            there = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            project.criteria, project.asks_ratings = there.criteria, there.asks_ratings
            current = project.guidelines.order_by("-version").first()
            if current is not None and all(getattr(current, name) == value for name, value in said.items()):
                return current
            last = project.guidelines.aggregate(last=Max("version"))["last"] or 0
            guideline = Guideline.objects.create(project=project, version=last + 1, created_by=actor, **said)
            audit(actor=actor, verb="guideline.add", target=f"guideline:v{guideline.version}", project=project)
            names = [one.name for one in criteria]
            asks_otherwise = names != project.criteria
            if asks_otherwise:
                criteria_know(project=project, label_judges=dict.fromkeys(names, ""))
                project.criteria = names
                project.save(update_fields=["criteria"])
            if project.asks_ratings != guideline.declared.of_answers:
                project.asks_ratings = guideline.declared.of_answers
                project.save(update_fields=["asks_ratings"])
            if not guideline.declared.of_pairs or (current is not None and not current.declared.of_pairs):
                TASK_CHANGED.tell(project, guideline)
            elif asks_otherwise:
                SEATS_WANTED_CHANGED.tell(project)
    except IntegrityError:
        raise ProjectRefused("Somebody else has just saved a new version. Read it, then save yours again.") from None
    return guideline
