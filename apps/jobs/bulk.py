"""Work that is answered in bulk: one job for many questions, which goes to engines of a cluster where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from prefloop.executors import EXECUTORS

BULK = "bulk"  # in a job's payload: it was cut to be answered so


def in_bulk(n_questions: int) -> bool:
    """Whether so many questions of one run are cut into large jobs."""
    return EXECUTORS[settings.EXECUTOR].bulk and n_questions >= settings.BULK_FROM


def is_bulk(payload: Mapping[str, Any]) -> bool:
    """Whether this job's questions go to a cluster's engines; a worker that has no cluster answers them itself."""
    return bool(payload.get(BULK)) and EXECUTORS[settings.EXECUTOR].bulk
