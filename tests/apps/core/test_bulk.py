"""Rows by the hundred: ids reserved first, constraints as ever."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.core.bulk import rows_insert
from apps.core.models import AuditEvent
from apps.prompts.models import Prompt, PromptSet

pytestmark = pytest.mark.django_db


def test_ids_ascend_and_the_next_row_comes_after_them(project):
    before = AuditEvent.objects.create(verb="x", target="t")
    rows = [AuditEvent(verb="x", target=str(i), data={"i": i} if i % 2 else {}) for i in range(700)]
    with transaction.atomic():
        rows_insert(rows)
    assert [row.pk for row in rows] == sorted({row.pk for row in rows})
    assert rows[0].pk > before.pk
    found = {row.pk: row for row in AuditEvent.objects.filter(pk__in=[row.pk for row in rows[:300]])}
    assert all(found[row.pk].target == row.target and found[row.pk].data == row.data for row in rows[:300])
    assert found[rows[0].pk].created_at == rows[0].created_at
    assert abs((timezone.now() - rows[0].created_at).total_seconds()) < 60
    assert AuditEvent.objects.create(verb="x", target="t").pk > rows[-1].pk


def test_a_broken_constraint_writes_nothing(project):
    prompt_set = PromptSet.objects.create(project=project, name="s")
    rows = [Prompt(project=project, prompt_set=prompt_set, external_id=key, text="é\0"[:1]) for key in ("a", "b", "a")]
    with pytest.raises(IntegrityError), transaction.atomic():
        rows_insert(rows)
    assert not Prompt.objects.filter(project=project).exists()


@pytest.mark.django_db(transaction=True)
def test_it_wants_a_transaction():
    with pytest.raises(RuntimeError, match="transaction"):
        rows_insert([AuditEvent(verb="x", target="t")])
