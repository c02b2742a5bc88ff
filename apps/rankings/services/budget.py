"""Pausing annotation, for everybody or one person, and how many labels a project wants to pay for."""

from __future__ import annotations

from decimal import Decimal

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.services import audit
from apps.projects.models import Membership, Project
from apps.rankings.models import Place
from apps.rankings.services.counts import place_of
from prefloop.types import PrefloopError

MAX_WORDS = 300


class BadBudget(PrefloopError):
    """A budget or a pause that can't be."""


def project_pause(*, project: Project, why: str, by: User) -> None:
    """Give nobody pairs to annotate, and tell them why; with "" go on. Answers to pairs given before are kept."""
    why = _sentence(why)
    with transaction.atomic():
        if Project.objects.filter(pk=project.pk).exclude(pause=why).update(pause=why):
            project.pause = why
            _audit(project, by, f"project:{project.slug}", "queue.pause" if why else "queue.resume", {"why": why})


def person_pause(*, project: Project, user: User, why: str, by: User) -> None:
    """Give one person no pairs, and tell them why; with "" go on. Raises BadBudget for who is no member."""
    why = _sentence(why)
    if not Membership.objects.filter(project=project, user=user).exists():
        raise BadBudget(f"{user.username} is not a member of this project")
    place = place_of(project, user)
    with transaction.atomic():
        if Place.objects.filter(pk=place.pk).exclude(pause=why).update(pause=why):
            verb = "queue.pause" if why else "queue.resume"
            _audit(project, by, f"user:{user.pk}", verb, {"why": why})


def queue_pause(*, project: Project, pauses: bool, why: str = "", user: User | None = None, by: User) -> None:
    """Pause annotation for everybody, or for one member, or let it go on. Raises BadBudget."""
    why = (why.strip() or _("Annotation is paused. Your answers are kept.")) if pauses else ""
    if user is not None:
        person_pause(project=project, user=user, why=why, by=by)
    else:
        project_pause(project=project, why=why, by=by)


def budget_set(*, project: Project, labels: int | None, price: Decimal | None, currency: str, by: User) -> None:
    """Set after how many labels no more pairs are given (None: never), and what one costs (None: not known).

    Raises BadBudget.
    """
    if labels is not None and labels < 0:
        raise BadBudget("a budget is at least 0 labels")
    if price is not None and price < 0:
        raise BadBudget("a label costs at least 0")
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise BadBudget("a currency has three letters, as EUR or USD")
    said = {"label_budget": labels, "label_price": price, "label_currency": currency.upper()}
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(**said)
        for name, value in said.items():
            setattr(project, name, value)
        logged: dict[str, object] = {
            "labels": labels,
            "price": None if price is None else str(price),
            "currency": currency.upper(),
        }
        _audit(project, by, f"project:{project.slug}", "queue.budget", logged)


def _sentence(why: str) -> str:
    if len(why) > MAX_WORDS:
        raise BadBudget(f"the sentence has at most {MAX_WORDS} characters")
    return why.strip()


def _audit(project: Project, by: User, target: str, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=target, project=project, data=data)
