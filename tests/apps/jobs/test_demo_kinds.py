"""The jobs of a letters demo that an earlier version made are found by their new kinds."""

from __future__ import annotations

import importlib

import pytest
from django.apps import apps

from apps.dashboard.demos import demo_is_seeded, seeding
from apps.jobs.models import Job, JobGroup
from prefloop.demos import LETTERS

migration = importlib.import_module("apps.jobs.migrations.0004_demo_kinds")


@pytest.mark.django_db
def test_a_finished_demo_stays_finished_and_a_half_done_one_goes_on(make_project):
    project = make_project(slug="letters")
    for kind in migration.KINDS:
        Job.objects.create(project=project, kind=kind, queue="cpu", state="succeeded")
    other = Job.objects.create(project=project, kind="sampling.chunk", queue="gpu", state="succeeded")
    group = JobGroup.objects.create(project=project, name="x", follow_up_kind="letters.seed.simulated")
    assert not demo_is_seeded(LETTERS)
    migration.rename(apps, None)
    assert demo_is_seeded(LETTERS)
    assert seeding(project) == []
    group.refresh_from_db()
    other.refresh_from_db()
    assert (group.follow_up_kind, other.kind) == ("demo.seed.second", "sampling.chunk")
