"""A judge of judges, made as the Judges page makes one."""

from __future__ import annotations

from collections.abc import Sequence

from apps.judging.ensembles import ensemble_options
from apps.judging.services import judge_create
from apps.labels.models import Judge
from apps.projects.models import Project
from prefloop.judging.kinds import ENSEMBLE


def ensemble_create(*, project: Project, name: str, members: Sequence[Judge], rule: str = "majority") -> Judge:
    options = ensemble_options(project=project, members=members, rule=rule)
    return judge_create(project=project, name=name, kind=ENSEMBLE.name, options=options)
