"""Write the database and the store of an earlier version with loops half done; `test_upgrade.py` goes on with them.

Run it in a checkout of that version (8b1cb68), beside that version's own fixtures:

    git worktree add ../earlier 8b1cb68
    cp tests/apps/training/earlier/make_database.py ../earlier/tests/apps/training/test_make_database.py
    HERE=$PWD/tests/apps/training/earlier
    cd ../earlier && EARLIER=$HERE python -m pytest tests/apps/training/test_make_database.py
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.jobs.drain import drain
from apps.jobs.models import Job

pytestmark = pytest.mark.django_db
# where each loop stands: its recipe, round, stage, settings
HALF_DONE = (
    ("iterative-dpo", 1, "sampling", {}),
    ("iterative-dpo", 1, "judging", {}),
    ("iterative-dpo", 1, "review", {"review.mode": "sample", "review.budget": "2"}),
    ("iterative-dpo", 2, "training", {"memory.kind": "rounds"}),
    ("iterative-dpo", 1, "evaluation", {}),
    ("oaif-dpo", 2, "training", {"draws.n": "2"}),
)


def test_write_an_earlier_database(start, fakes, loop_project):
    folder = Path(os.environ["EARLIER"])
    parked: list[int] = []
    for recipe, index, stage, chosen in HALF_DONE:
        loop = start(recipe, n_rounds=2, **chosen)
        there = loop.rounds.filter(index=index, stage=stage)
        drain(["gpu", "cpu"], worker_name="earlier", until=there.exists)
        drain(["cpu"], worker_name="earlier")  # the step that was under way ends: what it enqueued is there
        assert there.exists(), (recipe, stage)
        left = Job.objects.filter(state="queued").exclude(pk__in=parked)
        parked += left.values_list("pk", flat=True)
        left.update(run_after=timezone.now() + timedelta(days=1))  # the next loop's worker leaves them alone
    Job.objects.filter(pk__in=parked).update(run_after=None)
    (folder / "database.sql").write_text("\n".join(connection.connection.iterdump()) + "\n", "utf-8")
    store = Path(settings.STORE_DIR)
    files = {
        str(path.relative_to(store)): path.read_text("utf-8").replace(str(store), "STORE_DIR")
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
    (folder / "store.json").write_text(json.dumps(files, indent=1) + "\n", "utf-8")
