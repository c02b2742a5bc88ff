"""What a job wants of a worker, beside its queue."""

from __future__ import annotations

import os

from django.conf import settings
from django.db.models import Q

from prefloop.executors import EXECUTORS

OWNED = "PREFLOOP_OWNED_CARDS"  # how many cards this worker owns; set by the worker itself


def can_be_had() -> Q:
    """The jobs that want no more cards than this worker owns. One that owns none known to it runs whatever comes, on
    its processor or on a cluster.
    """
    owned = os.environ.get(OWNED)
    if owned is None or not EXECUTORS[settings.EXECUTOR].on_its_machine:
        return Q()
    return Q(cards__lte=int(owned))
