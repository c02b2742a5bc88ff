"""Rows by the hundred: ids reserved first, constraints as ever."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.core.bulk import ids_reserve, rows_insert
from apps.core.models import AuditEvent
from apps.labels.models import Vote
from apps.prompts.models import Prompt, PromptSet
from apps.samples.models import Completion

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]


def test_ids_ascend_and_the_next_row_comes_after_them(project):
    before = AuditEvent.objects.create(verb="x", target="t")
    rows = [("x", str(i), {"i": i} if i % 2 else {}) for i in range(700)]
    with transaction.atomic():
        ids = rows_insert(AuditEvent, ("verb", "target", "data"), rows)
    assert ids == sorted(set(ids))
    assert ids[0] > before.pk
    found = AuditEvent.objects.filter(pk__in=ids[:300]).order_by("id")
    assert [(row.verb, row.target, row.data) for row in found] == rows[:300]
    assert all(abs((timezone.now() - row.created_at).total_seconds()) < 60 for row in found)
    assert AuditEvent.objects.create(verb="x", target="t").pk > ids[-1]


def test_what_is_not_named_holds_its_default(project, make_prompt):
    prompt = make_prompt(project)
    with transaction.atomic():
        (key,) = rows_insert(
            Completion, ("project_id", "prompt_id", "index", "text"), [(project.pk, prompt.pk, 7, "é")]
        )
    made, plain = Completion.objects.get(pk=key), Completion.objects.create(project=project, prompt=prompt, index=8)
    assert (made.text, made.index, made.n_characters) == ("é", 7, 1)
    for field in ("run_id", "batch_id", "token_ids", "logp_sum", "seed", "finished", "model_name", "metadata"):
        assert getattr(made, field) == getattr(plain, field)


def test_rows_point_at_each_other_by_ids_reserved_before(project, make_comparison):
    comparison = make_comparison(project)
    with transaction.atomic():
        ids = ids_reserve(Vote, 2)
        names = ("comparison_id", "rater", "choice", "supersedes_id")
        said = [(comparison.pk, "a", "first", None), (comparison.pk, "a", "tie", ids[0])]
        assert rows_insert(Vote, names, said, ids=ids) == ids
    assert Vote.objects.get(superseded_by__isnull=True).supersedes.choice == "first"


def test_a_broken_constraint_writes_nothing(project):
    prompt_set = PromptSet.objects.create(project=project, name="s")
    rows = [(project.pk, prompt_set.pk, key, "é") for key in ("a", "b", "a")]
    with pytest.raises(IntegrityError), transaction.atomic():
        rows_insert(Prompt, ("project_id", "prompt_set_id", "external_id", "text"), rows)
    assert not Prompt.objects.filter(project=project).exists()


@pytest.mark.django_db(transaction=True)
def test_it_wants_a_transaction():
    with pytest.raises(RuntimeError, match="transaction"):
        rows_insert(AuditEvent, ("verb", "target"), [("x", "t")])
