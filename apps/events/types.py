"""What the product tells to the outside: every event, declared once.

Webhooks, their form, the API and its description, and notifications on the page and by mail read this list. An event is
told by `apps.events.telling.tell` in the transaction of what it tells. Its data name rows by their ids; they hold no
model names.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.projects.models import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """One kind of event. `fields`: what its data hold.

    `notifies`: members of this role or above are notified, by the sentence `words`, which leads to `page` of the
    project; both are filled with the data.
    """

    name: str
    about: str | Promise
    fields: tuple[str, ...]
    notifies: Role | None = None
    words: str | Promise = ""
    page: str = ""


_DECISION = ("comparison", "rater", "criterion", "choice", "reason")
_VOTE = (*_DECISION, "reasons", "marks")

_RATING = ("answer", "prompt", "rater", "choice", "values", "total", "reason")

EVENTS: dict[str, EventKind] = {
    kind.name: kind
    for kind in (
        EventKind(name="vote.created", about=_("Somebody voted"), fields=("vote", *_VOTE)),
        EventKind(name="vote.withdrawn", about=_("Somebody undid a vote"), fields=("vote", *_VOTE)),
        EventKind(name="rating.created", about=_("Somebody rated an answer"), fields=("rating", *_RATING)),
        EventKind(name="rating.withdrawn", about=_("Somebody undid a rating"), fields=("rating", *_RATING)),
        EventKind(
            name="override.created",
            about=_("Somebody agreed with a judge's label or corrected it"),
            fields=("override", "judge", "kind", "judge_outcome", *_DECISION),
        ),
        EventKind(
            name="override.withdrawn",
            about=_("Somebody undid a decision on a judge's label"),
            fields=("override", "judge", "kind", "judge_outcome", *_DECISION),
        ),
        EventKind(name="edit.created", about=_("Somebody edited an answer into a better one"), fields=("vote", *_VOTE)),
        EventKind(name="adjudication.created", about=_("A lead decided a split pair"), fields=("vote", *_VOTE)),
        EventKind(name="adjudication.withdrawn", about=_("A lead undid such a decision"), fields=("vote", *_VOTE)),
        EventKind(
            name="import.finished",
            about=_("A file was imported"),
            fields=("import", "name", "format", "counts"),
        ),
        EventKind(name="round.finished", about=_("A round of a loop is finished"), fields=("loop", "round", "result")),
        EventKind(
            name="review.waiting",
            about=_("A loop waits for people to review"),
            fields=("loop", "round", "n"),
            notifies=Role.LEAD,
            words=_("Loop %(loop)s waits for reviews of %(n)s pairs (round %(round)s)"),
            page="loops/%(loop)s/",
        ),
        EventKind(
            name="loop.done",
            about=_("A loop is done"),
            fields=("loop", "rounds"),
            notifies=Role.LEAD,
            words=_("Loop %(loop)s is done after %(rounds)s rounds"),
            page="loops/%(loop)s/",
        ),
        EventKind(
            name="loop.failed",
            about=_("A loop has failed"),
            fields=("loop", "error"),
            notifies=Role.ENGINEER,
            words=_("Loop %(loop)s has failed: %(error)s"),
            page="loops/%(loop)s/",
        ),
        EventKind(
            name="judge.below_bound",
            about=_("A judge agrees with people less than the bound"),
            fields=("judge", "name", "version", "agreement", "ci95", "bound", "n"),
            notifies=Role.LEAD,
            words=_("Judge %(name)s agrees with people less than the bound that is set"),
            page="judges/%(judge)s/",
        ),
        EventKind(
            name="judge.paused",
            about=_("A judge stopped: its endpoint is down or refuses, or its cap is reached"),
            fields=("job", "title", "why", "error"),
            notifies=Role.ENGINEER,
            words=_("A judge stopped (%(title)s): %(error)s"),
            page="jobs/%(job)s/",
        ),
        EventKind(name="ping", about=_("A test of the webhook"), fields=()),
    )
}
PING = "ping"
CHOSEN = tuple(name for name in EVENTS if name != PING)  # what a webhook can be told of
