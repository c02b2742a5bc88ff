"""Lists and counts that do not look at all there is."""

from __future__ import annotations

import random
from itertools import count

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import counting, paging
from apps.core.counting import counts_of_added
from apps.core.kept_figures import cache
from apps.core.paging import PagesAhead
from apps.prompts.models import ImportBatch, Prompt, PromptSet
from apps.samples.selectors import model_names

pytestmark = pytest.mark.django_db


@pytest.fixture
def add(project):
    prompts, names = PromptSet.objects.create(project=project, name="p"), count()

    def make(n, *, split="train", **fields):
        given = {"project": project, "prompt_set": prompts, "text": "?", "split": split} | fields
        return Prompt.objects.bulk_create(Prompt(external_id=f"p{next(names)}", **given) for _ in range(n))

    return make


def test_pages_look_only_some_rows_ahead(project, add, monkeypatch):
    monkeypatch.setattr(paging, "AHEAD", 20)
    add(57)
    rows = Prompt.objects.filter(project=project).order_by("id")
    page = PagesAhead(rows, 5).get_page("1")
    assert (page.paginator.count, page.paginator.is_cut, page.has_next()) == (25, True, True)
    assert (page.start_index(), page.end_index(), len(page)) == (1, 5, 5)
    late = PagesAhead(rows, 5).get_page("9")
    assert (late.number, late.paginator.count, late.paginator.is_cut) == (9, 57, False)
    assert [row.pk for row in late] == [row.pk for row in rows[40:45]]
    assert PagesAhead(rows, 5).get_page("12").has_next() is False
    assert PagesAhead(rows, 5).get_page("nonsense").number == 1
    assert PagesAhead(rows, 5).get_page("9" * 30).number == 4  # the last that was looked for
    with CaptureQueriesContext(connection) as queries:
        PagesAhead(rows, 5).get_page("2")
    assert len(queries) == 1
    assert "LIMIT 31" in queries[0]["sql"]


@pytest.mark.slow
def test_a_count_that_goes_on_is_the_count(project, add, monkeypatch):
    """However the rows come: of two splits, in lower ids than others that were there before, or not at all."""
    monkeypatch.setattr(counting, "MARGIN", 5)
    rng, kept = random.Random(1), []
    spare = add(300, split="eval")  # ids to come back to
    low = [row.pk for row in spare]
    Prompt.objects.filter(pk__in=low).delete()
    rows = Prompt.objects.filter(project=project)
    newest = low[-1]
    for _ in range(60):
        made = add(rng.randrange(4), split=rng.choice(["train", "eval"]))
        newest = max([newest, *[row.pk for row in made]])
        if rng.random() < 0.3:  # a transaction that had its ids before the others were committed
            free = [key for key in range(newest - 4, newest) if not Prompt.objects.filter(pk=key).exists()]
            if free:
                add(1, pk=free[0])
        found = counts_of_added("k", rows, "split", settled=True)
        assert found == {s: n for s in ("train", "eval") if (n := rows.filter(split=s).count())}
        kept.append((cache.get("k") or (0, {}))[0])
    assert kept[-1] > kept[10] > 0, "what was counted is not counted again"


def test_nothing_is_kept_while_an_import_is_under_way(project, add, monkeypatch):
    monkeypatch.setattr(counting, "MARGIN", 1)
    add(20)
    rows = Prompt.objects.filter(project=project)
    assert counts_of_added("k", rows, "split", settled=False) == {"train": 20}
    assert cache.get("k") is None


def test_models_are_named_without_those_of_an_unfinished_import(project, other_project, make_prompt, make_completion):
    prompt = make_prompt(project)
    for name in ("b", "a", "b", "", "c"):
        make_completion(prompt, model_name=name)
    make_completion(make_prompt(other_project), model_name="elsewhere")
    assert model_names(project) == ["a", "b", "c"]
    unfinished = ImportBatch.objects.create(project=project, name="x", format="records", ready=False)
    make_completion(prompt, model_name="d", batch=unfinished)
    make_completion(prompt, model_name="a", batch=unfinished)
    assert model_names(project) == ["a", "b", "c"]
