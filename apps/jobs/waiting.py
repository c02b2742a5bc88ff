"""Why a job waits, where nothing that runs now will take it up: in one sentence that says what to do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.utils.translation import gettext as _

from apps.jobs.fairness import RUNNING, running_work
from apps.jobs.models import Job, JobState, Turn, Worker
from apps.jobs.selectors import workers_heard
from apps.quotas.kinds import KINDS
from apps.quotas.services import limits_of


def why_waiting(job: Job, *, now: dt.datetime) -> str:
    """Say why a queued job is not taken up; "" where it only waits for its turn, or does not wait."""
    if job.state != JobState.QUEUED:
        return ""
    workers = [one for one in workers_heard(now) if one.queue == job.queue]
    if not workers:
        return _("No running worker takes jobs of the queue %(queue)s. Start one: manage.py up.") % {"queue": job.queue}
    most = most_cards(workers)
    if most is not None and job.cards > most:
        return _(
            "It wants %(wanted)s cards at once, and no running worker owns more than %(most)s. Start a worker with as "
            "many (manage.py worker --queue gpu --gpus 0,1,…), or lower PREFLOOP_PROCESSES or PREFLOOP_CARDS and start "
            "the training again."
        ) % {"wanted": job.cards, "most": most}
    if job.project is not None and job.project.removing:
        return _("Data of its project are being deleted. It begins when that is done.")
    limit = limits_of(project_id=job.project_id).get((RUNNING, "project")) if job.project_id is not None else None
    if limit is not None and job.turn == Turn.WORK and running_work().filter(project=job.project_id).count() >= limit:
        return _(
            "Its project has as many jobs running as its quota allows (%(limit)s). It begins when one of them has "
            "ended."
        ) % {"limit": KINDS[RUNNING].shown(limit)}
    return ""


def most_cards(workers: Sequence[Worker]) -> int | None:
    """The most cards that one of these workers owns; None: one of them runs whatever comes."""
    owned = [one.cards for one in workers]
    return None if None in owned else max(filter(None, owned), default=0)


def jobs_that_want_more(now: dt.datetime) -> list[tuple[str, int, int]]:
    """List the queues in which a job waits that wants more cards than any worker has: queue, wanted, most."""
    found = []
    workers = workers_heard(now)
    for queue in sorted({one.queue for one in workers}):
        most = most_cards([one for one in workers if one.queue == queue])
        if most is not None:
            rows = Job.objects.filter(queue=queue, state=JobState.QUEUED, cards__gt=most).order_by("-cards")
            wanted = rows.values_list("cards", flat=True).first()
            found += [(queue, wanted, most)] if wanted is not None else []
    return found
