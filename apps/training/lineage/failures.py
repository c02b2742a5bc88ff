"""The cause of a failure, and what to do, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop


@dataclass(frozen=True, slots=True)
class Failure:
    what: str
    whose: str
    todo: str


_FAILURES = {
    "user_config": (
        gettext_noop("A setting is invalid"),
        gettext_noop("The settings of this loop, not the machine."),
        gettext_noop("Start a new loop with a corrected setting; this one would fail again."),
    ),
    "data": (
        gettext_noop("Data is missing, or not what the recipe needs"),
        gettext_noop("The project's data."),
        gettext_noop("Correct the data, then resume. Finished work is kept."),
    ),
    "out_of_memory": (
        gettext_noop("Memory ran out"),
        gettext_noop("The machine is too small for these settings."),
        gettext_noop("Start a new loop with a smaller objective.batch or shorter answers (draws.max_tokens)."),
    ),
    "out_of_disk": (
        gettext_noop("The disk is full"),
        gettext_noop("The machine."),
        gettext_noop("Free some space, then resume."),
    ),
    "judge_unreachable": (
        gettext_noop("The judge's server could not be reached"),
        gettext_noop("The judge's server or the network."),
        gettext_noop(
            "Make sure that the endpoint responds, then resume. Its verdicts are kept and not paid for twice."
        ),
    ),
    "judge_refused": (
        gettext_noop("The judge's server refused"),
        gettext_noop("The endpoint's key, quota or model name."),
        gettext_noop("Correct the endpoint on the Judges page, then resume."),
    ),
    "cap_reached": (
        gettext_noop("A cap on spending or a quota is reached"),
        gettext_noop("Nobody: the limit worked as intended."),
        gettext_noop(
            "Raise the cap on the endpoint's page, or have an administrator raise the quota, then resume. "
            "Everything paid for is kept."
        ),
    ),
    "worker_lost": (
        gettext_noop("The worker died repeatedly"),
        gettext_noop("The machine: it was switched off, or killed the process."),
        gettext_noop("Make sure that a worker runs (manage.py doctor), then resume from the last checkpoint."),
    ),
    "timeout": (
        gettext_noop("It took too long"),
        gettext_noop("The machine or the judge's server."),
        gettext_noop("Resume: it continues where it stopped."),
    ),
    "internal": (
        gettext_noop("Something broke inside prefloop"),
        gettext_noop("Ours, not yours."),
        gettext_noop("Resume once; if it fails again, report it with the text below."),
    ),
}


def failure_in_words(failure_class: str) -> Failure:
    what, whose, todo = _FAILURES.get(failure_class, _FAILURES["internal"])
    return Failure(_(what), _(whose), _(todo))
