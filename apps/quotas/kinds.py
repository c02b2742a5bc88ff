"""Every quota, declared once: what is limited, in which unit, over which time, of whom, and what happens at the limit.

What is used is counted by whoever owns the rows (`apps/quotas/counting.py`); a limit is asked by `ask` in
`apps/quotas/services.py`. The pages, the API, and the defaults in the environment read this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from prefloop.types import PrefloopError


class NoSuchQuota(PrefloopError):
    """A name that no quota has."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One quota. Limits are set in `unit`; what is used is counted in whole parts of it, `scale` of which are one."""

    name: str
    label: str | Promise
    about: str | Promise
    at_the_limit: str | Promise
    unit: str = ""
    scale: int = 1
    digits: int = 0  # that are shown behind the point
    monthly: bool = False  # what was used since the first of the month (UTC); else what there is now
    of_people: bool = True  # whether a person can have a limit, beside a project

    def parts(self, amount: Decimal) -> int:
        """Turn a limit into the parts that are counted."""
        return int(amount * self.scale)

    def shown(self, parts: int) -> str:
        """Write an amount with its unit, as people read it."""
        number = f"{Decimal(parts) / self.scale:,.{self.digits}f}"
        return f"{self.unit}{number}" if self.unit == "$" else f"{number} {self.unit}".rstrip()


_REFUSED = _("Nothing more of it can be begun. What has begun goes on.")
_PAUSES = _("Jobs that ask an endpoint pause, as they do at an endpoint's own cap, and loops can be resumed.")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "jobs",
            _("Jobs that wait or run"),
            _("Sampling, judging and training. Work on many prompts or pairs is several jobs."),
            _REFUSED,
        ),
        Kind(
            "running",
            _("Jobs that run at once"),
            _("Sampling, judging and training, on all workers together. What takes seconds is not held back."),
            _("Further jobs wait until one of these has ended."),
            of_people=False,
        ),
        Kind(
            "samples",
            _("Answers sampled this month"),
            _("All answers of a run count when it begins, those of loops and of evaluations too."),
            _("No further run begins. What has begun goes on; a loop stops before its next run and can be resumed."),
            monthly=True,
        ),
        Kind(
            "tokens",
            _("Tokens at endpoints this month"),
            _("Of judges and models on other servers. Calls under way count as the most that they can use."),
            _PAUSES,
            monthly=True,
        ),
        Kind(
            "money",
            _("Money at endpoints this month"),
            _("At the prices on the endpoints' pages. Calls under way count as the most that they can cost."),
            _PAUSES,
            unit="$",
            scale=10**9,
            digits=2,
            monthly=True,
        ),
        Kind(
            "disk",
            _("Models that are kept"),
            _("The files of all checkpoints."),
            _("No model is imported and no training begins. One that has begun keeps its result."),
            unit="GiB",
            scale=2**30,
            digits=2,
        ),
        Kind(
            "uploads",
            _("Files that wait for import"),
            _("Uploaded data, and data sets fetched from a hub, until they are imported or removed."),
            _("No further file is taken."),
            unit="MB",
            scale=2**20,
        ),
        Kind(
            "models",
            _("Models that are being uploaded"),
            _("From the Policies page, until they are imported or removed."),
            _("No further upload begins."),
            unit="GiB",
            scale=2**30,
            digits=2,
            of_people=False,
        ),
    )
}


def written(amount: Decimal) -> str:
    """Write a limit as somebody would type it: 200 and 0.5, not 2E+2 and 0.5000."""
    return f"{amount.normalize():f}"


def kind_of(name: str) -> Kind:
    """Find a quota by its name. Raises NoSuchQuota."""
    if name not in KINDS:
        raise NoSuchQuota(f"there is no quota {name!r}: there are {', '.join(KINDS)}")
    return KINDS[name]


def check_names(limits: dict[str, Decimal], *, of_people: bool) -> None:
    """Raises NoSuchQuota for a name that can't have a limit."""
    for name in limits:
        if of_people and not kind_of(name).of_people:
            raise NoSuchQuota(f"the quota {name!r} is one of projects, not of people")
        kind_of(name)
