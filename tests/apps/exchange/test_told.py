"""What an import tells webhooks: one event for all that came, in the import's own transaction."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from apps.events.models import Event
from apps.exchange.services import import_file
from apps.labels.models import Vote
from apps.projects.models import Project
from prefloop.records import RecordsError

pytestmark = pytest.mark.django_db


@pytest.fixture
def bring(project, tmp_path):
    def imported(*rows, heard=("import.finished", "vote.created")):
        Project.objects.filter(pk=project.pk).update(listened=list(heard))
        project.refresh_from_db()
        path = tmp_path / "votes.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return import_file(project=project, path=path, name="votes.jsonl", created_by=None, now=timezone.now())

    return imported


def record(n, *raters):
    votes = [{"rater": rater, "pair": [0, 1], "choice": 0} for rater in raters]
    return {"id": f"r{n}", "prompt": f"Question {n}?", "completions": [{"text": "a"}, {"text": "b"}], "votes": votes}


def test_an_import_is_one_event_with_the_number_of_its_votes(bring):
    batch = bring(record(1, "ann", "ben"), record(2, "ann"))
    event = Event.objects.get()
    assert (event.kind, event.data["import"], event.data["name"]) == ("import.finished", batch.pk, "votes.jsonl")
    assert (event.data["counts"]["n_records"], event.data["counts"]["n_votes"]) == (2, 3)
    assert Vote.objects.count() == 3


def test_votes_added_to_known_records_are_told_and_a_file_with_nothing_new_is_not(bring):
    bring(record(1, "ann"))
    bring(record(1, "ann"))
    assert Event.objects.count() == 1
    bring(record(1, "ann", "ben"))
    told = Event.objects.latest("id").data["counts"]
    assert (told["n_records"], told["n_added"], told["n_votes"]) == (0, 1, 1)


def test_nothing_is_told_of_a_refused_file_or_where_nobody_hears_of_it(bring):
    with pytest.raises(RecordsError):
        bring(record(1, "ann"), {"id": "r2"})
    bring(record(1, "ann"), heard=["vote.created"])
    assert not Event.objects.exists()
