"""What a job wants of a worker, beside its queue."""

from __future__ import annotations

import os

from django.conf import settings
from django.db.models import Q

from prefloop.executors import EXECUTORS

OWNED = "PREFLOOP_OWNED_CARDS"  # how many cards this worker owns; set by the worker itself


def cards_owned() -> int | None:
    """How many cards this worker owns; None: it owns none known to it and runs whatever comes, on its processor or on
    a cluster.
    """
    owned = os.environ.get(OWNED)
    if owned is None or not EXECUTORS[settings.EXECUTOR].on_its_machine:
        return None
    return int(owned)


def can_be_had() -> Q:
    """The jobs that want no more cards than this worker owns."""
    owned = cards_owned()
    return Q() if owned is None else Q(cards__lte=owned)
