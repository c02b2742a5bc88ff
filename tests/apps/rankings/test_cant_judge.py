"""“Can't judge” is an answer: it takes the place of a wanted vote, makes no label, and leads see where it was given."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random

import pytest
from django.urls import reverse

from apps.labels.columns import pairs_of, votes_of
from apps.labels.crew import crew_columns
from apps.labels.models import Preference, Vote
from apps.projects.services import label_policy_set
from apps.rankings import selectors, services
from apps.rankings.models import Assignment
from apps.rankings.services.counts import differences
from apps.reports.people import crew_of
from prefloop.records import comparisons_of, parse_line, write_record
from tests.apps.rankings.queue_oracle import left_for

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)


def answer(project, user, choice):
    held = services.assignment_next(project=project, user=user, now=T0, rng=Random(1))
    return services.vote_create(assignment=held, choice=choice, now=T0).vote


def set_votes(project, n):
    label_policy_set(project=project, actor=None, votes_per_comparison=n, annotators_may_override=True)


@pytest.mark.parametrize(("choice", "asked"), [("cant_judge", 0), ("skip", 1)])
def test_a_skip_leaves_the_pair_to_others_and_this_answer_does_not(project, ann, bob, make_comparison, choice, asked):
    pair = make_comparison(project)
    answer(project, ann, choice)
    assert Assignment.objects.filter(comparison=pair, state="free").count() == asked
    assert [len(found) for found in left_for(project, [ann, bob], T0).values()] == [0, asked]
    assert selectors.n_wanting(project=project, user=bob, now=T0) == asked
    assert differences(project) == {}


@pytest.mark.slow
def test_it_never_becomes_a_label_and_others_may_still_give_one(project, ann, bob, erin, make_comparison):
    set_votes(project, 3)
    make_comparison(project)
    answer(project, ann, "cant_judge")
    answer(project, bob, "cant_judge")
    assert not Preference.objects.exists()
    said = answer(project, erin, "tie")
    label = Preference.objects.get()
    assert (label.outcome, label.label_ids) == ("tie", [f"vote:{said.pk}"])


def test_it_can_be_undone_and_the_pair_comes_back(project, ann, make_comparison):
    make_comparison(project)
    answer(project, ann, "cant_judge")
    back = services.vote_undo(project=project, user=ann, now=T0)
    assert (back.state, differences(project)) == ("open", {})
    services.vote_create(assignment=back, choice="left", now=T0)
    assert Preference.objects.get().source == "human"


@pytest.mark.slow
def test_reports_count_it_for_its_person_and_in_no_agreement(project, ann, bob, make_comparison):
    set_votes(project, 2)
    for _ in range(2):
        make_comparison(project)
    for choice in ("cant_judge", "left"):
        answer(project, ann, choice)
    for choice in ("left", "skip"):
        answer(project, bob, choice)
    mine, his = (one.report for one in sorted(crew_of(project=project, now=T0).people, key=lambda p: p.report["name"]))
    assert (mine["n"], mine["n_cant_judge"], mine["n_skipped"]) == (1, 1, 0)
    assert (his["n"], his["n_cant_judge"], his["n_skipped"]) == (1, 0, 1)
    assert sorted(votes_of(project, pairs_of(project)).outcome)[:2] == [-1, -1], "in agreement it is like a skip"
    assert sorted(crew_columns(project).outcome)[:2] == [-2, -1]


@pytest.mark.slow
def test_leads_see_the_pairs_that_several_or_all_could_not_judge(project, bob, make_comparison, make_vote, client_for):
    def voted(*choices):
        pair = make_comparison(project)
        for rater, choice in zip(["ann", "ben", "cat"], choices, strict=False):
            make_vote(pair, choice, rater=rater, at=T0)
        return pair

    alone = voted("cant_judge")
    several = voted("cant_judge", "first", "cant_judge")
    split = voted("first", "second", "cant_judge")
    voted("cant_judge", "first", "first")
    voted("skip", "first")
    found = selectors.split_pairs(project)
    assert [(p.comparison_id, p.n_votes, p.n_cant_judge, p.has_majority) for p in found] == [
        (alone.pk, 1, 1, False),
        (split.pk, 3, 1, False),
        (several.pk, 3, 2, True),
    ]
    page = client_for(bob).get(reverse("rankings:split", args=[project.slug])).content.decode()
    assert "1 could not judge" in page
    services.adjudication_create(comparison=alone, user=bob, choice="both_bad", now=T0)
    assert Preference.objects.get(comparison=alone).source == "adjudication"
    assert alone.pk not in [pair.comparison_id for pair in selectors.split_pairs(project)]


@pytest.mark.slow
def test_the_history_and_programs_of_leads_tell_it(project, ann, bob, make_comparison, client_for, api_for):
    pair = make_comparison(project)
    api = api_for(ann)
    held = api.post(f"/api/v1/projects/{project.slug}/next/").json()["assignment"]
    body = {"assignment": held, "choice": "cant_judge", "reason": "both in Finnish"}
    assert api.post("/api/v1/votes/", body, format="json").status_code == 201
    assert api.post("/api/v1/votes/", body, format="json").status_code == 200
    assert api.post("/api/v1/votes/", body | {"choice": "skip"}, format="json").status_code == 409
    page = client_for(bob).get(reverse("rankings:comparison", args=[project.slug, pair.pk])).content.decode()
    assert "Can&#x27;t judge" in page or "Can't judge" in page
    lead = api_for(bob)
    url = f"/api/v1/projects/{project.slug}/comparisons/{pair.pk}/history/"
    told = [(e["said"], e["reason"]) for e in lead.get(url).json() if e["kind"] != "seen"]
    assert told == [("cant_judge", "both in Finnish")]
    assert lead.get(f"/api/v1/projects/{project.slug}/adjudications/").json()[0]["n_cant_judge"] == 1


def test_in_a_record_it_restricts_nothing():
    line = {"id": "r", "prompt": "Q", "completions": [{"text": t} for t in "abc"]}
    line["votes"] = [{"rater": "ann", "pair": [0, 1], "choice": "cant_judge"}]
    record = parse_line(json.dumps(line).encode())
    assert json.loads(write_record(record))["votes"][0]["choice"] == "cant_judge"
    assert len(comparisons_of(record)) == 3, "no label: it restricts the record to no pair"


@pytest.mark.slow
def test_without_scripts_its_button_works(project, ann, make_comparison, client_for):
    make_comparison(project)
    client = client_for(ann)
    assert 'value="cant_judge"' in client.get(f"/p/{project.slug}/annotate/").content.decode()
    held = Assignment.objects.get(user=ann)
    client.post(f"/p/{project.slug}/annotate/vote/", {"assignment": held.pk, "choice": "cant_judge"})
    assert Vote.objects.get().choice == "cant_judge"
    assert "Can" in client.get(f"/p/{project.slug}/annotate/{held.comparison_id}/").content.decode()
