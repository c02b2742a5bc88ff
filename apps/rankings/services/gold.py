"""Marking pairs as gold: a lead knows their answer. They measure people and judges and are never trained on."""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import GoldItem
from apps.labels.review_counts import reviews_settle
from apps.projects.models import Project
from apps.projects.services import SEATS_WANTED_CHANGED
from apps.rankings.gold import MOST_SHARE
from apps.rankings.services.counts import counted
from apps.rankings.services.seats import seats_fill
from apps.samples import exposure
from apps.samples.models import Comparison
from apps.samples.services import EVALUATION, pairs_held_out
from prefloop.types import OUTCOMES, PrefloopError

MAX_NOTE = 2000


class BadGold(PrefloopError):
    """A known answer that can't be."""


def note_checked(note: str) -> str:
    """Raises BadGold for a note that is too long."""
    if len(note) > MAX_NOTE:
        raise BadGold(f"a note has at most {MAX_NOTE:,} characters")
    return note.strip()


def gold_mark(*, comparison: Comparison, outcome: str, by: User, note: str = "", for_practice: bool = False) -> None:
    """Say what the right answer of a pair is, and why; again replaces it. From then on it is never trained on,
    nor are edits of its answers.

    `for_practice`: people practise on it, and it is given among real pairs to nobody. Raises BadGold.
    """
    if outcome not in OUTCOMES:
        raise BadGold(f"the answer must be one of {', '.join(OUTCOMES)}, not {outcome!r}")
    note = note_checked(note)
    if comparison.same_answers:
        raise BadGold("both answers are the same text: neither can be better")
    if comparison.origin.startswith(EVALUATION):
        raise BadGold("this pair measures a policy: its label comes from whoever is asked about it")
    exposure.shown(user_id=by.pk, comparison_ids=[comparison.pk], where="gold")
    with counted(comparison.project_id, [comparison.pk]):
        said = {"note": note, "by": by, "for_practice": for_practice}
        GoldItem.objects.update_or_create(comparison=comparison, defaults=said)
        _write(comparison, outcome)
        _audit(comparison, by, "gold.mark", {"outcome": outcome, "for_practice": for_practice})


def gold_unmark(*, comparison: Comparison, by: User) -> None:
    """Take it back that a pair's answer is known. Nothing happens to a pair that is not gold."""
    with counted(comparison.project_id, [comparison.pk]):
        GoldItem.objects.filter(comparison=comparison).delete()
        _write(comparison, "")
        _audit(comparison, by, "gold.unmark", {})


def _write(comparison: Comparison, outcome: str) -> None:
    Comparison.objects.filter(pk=comparison.pk).update(gold=outcome, held_out=True)
    changed = pairs_held_out(comparison.prompt_id)
    comparison.refresh_from_db(fields=["gold", "held_out"])
    reviews_settle(sorted({comparison.pk, *changed}))
    seats_fill(comparison.project_id, [comparison.pk])


def _audit(comparison: Comparison, by: User, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"comparison:{comparison.pk}", project=comparison.project, data=data)


def gold_share_set(*, project: Project, share: int, by: User) -> None:
    """Set how many per cent of the pairs that people and judges get, and of the answers that people rate, are gold;
    0: gold items come like any others.

    Raises BadGold.
    """
    if not 0 <= share <= MOST_SHARE:
        raise BadGold(f"at most {MOST_SHARE} % of the pairs can be gold")
    with transaction.atomic():
        if not Project.objects.filter(pk=project.pk).exclude(gold_share=share).update(gold_share=share):
            return
        project.gold_share = share
        SEATS_WANTED_CHANGED.tell(project)
        audit(actor=by, verb="gold.share", target=f"project:{project.slug}", project=project, data={"share": share})
