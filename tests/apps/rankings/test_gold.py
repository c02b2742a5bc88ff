"""Gold pairs: marked by leads, mixed in at the set rate, never twice, and by nothing to be told from other pairs."""

from __future__ import annotations

import itertools
import random
import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.models import AuditEvent
from apps.judging.services import judging_run_create
from apps.labels.models import GoldItem, ReviewItem, Vote
from apps.projects.models import Role
from apps.projects.services import member_add
from apps.rankings import selectors, services
from apps.rankings.gold import Mixing, Turns
from apps.rankings.models import GOLD, Assignment
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong
from apps.reports.people import crew_of
from apps.samples.models import Exposure
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)
JSON = {"HTTP_ACCEPT": "application/json"}


def lease(project, user, n=1):
    return services.assignments_lease(project=project, user=user, n=n, now=datetime.now(UTC), rng=random.Random(0))


@pytest.fixture
def mixed(project, ann, alice, make_comparison, make_comparisons):
    """A project of thirty pairs and ten gold ones, of which one in five is to be gold."""
    make_comparisons(project, 30)
    for outcome in ("first", "second") * 5:
        services.gold_mark(comparison=make_comparison(project), outcome=outcome, by=alice, note="because")
    services.gold_share_set(project=project, share=20, by=alice)
    return project


@pytest.mark.parametrize("share", [1, 7, 20, 33, 50])
def test_so_many_turns_are_gold_as_the_share_says_and_what_is_to_come_is_known(share):
    turns = Turns(3, 4, share)
    gold = [turn for turn in range(2000) if turns.is_gold(turn)]
    assert len(gold) == 20 * share
    assert all(abs(turns.n_before(turn) - turn * share / 100) <= 1 for turn in range(0, 2000, 7))
    gaps = {b - a for a, b in itertools.pairwise(gold)}
    assert len(gaps) > 1, "not at even distances"
    assert gold != [turn for turn in range(2000) if Turns(3, 5, share).is_gold(turn)], "not the same for everybody"
    for turn in (0, 5, 17):
        left, n = 40, turns.n_ahead(turn, 40)
        for now in range(turn, turn + 40 + n):  # by one pair after the other
            assert left + turns.n_ahead(now, left) == turn + 40 + n - now
            left -= not turns.is_gold(now)
        assert left == 0


def test_only_gold_is_never_left():
    assert not any(Mixing(Turns(1, 2, 50), turn, 0, 9).is_due for turn in range(20))
    assert Mixing(Turns(1, 2, 50), 0, 0, 9).places(9) == []


def answer_all(project, user, ask):
    """Answer everything that the person is given; their numbers may not tell which of the pairs were gold."""
    before = selectors.progress(project=project, user=user, now=T0)
    given = []
    while held := lease(project, user, ask):
        for seat in held:
            given.append(seat)
            services.vote_create(assignment=seat, choice="left", now=datetime.now(UTC))
            now = selectors.progress(project=project, user=user, now=T0)
            assert (now.total, now.done) == (before.total, len(given)), "gold or not"
    assert (len(given), len({seat.comparison_id for seat in given})) == (before.total, before.total)
    return [seat.priority == GOLD for seat in given]


@pytest.mark.slow
@pytest.mark.parametrize("ask", [1, 21])
def test_everybody_gets_them_at_the_rate_once_and_no_number_tells(ask, mixed, ann, bob, member):
    services.seats_settle(project=mixed)
    assert sum(answer_all(mixed, ann, ask)) in {7, 8}
    assert answer_all(mixed, bob, ask) == [], "she has done the others, and only gold would be left for him"
    mixed.votes_per_comparison = 2
    mixed.save()
    services.seats_settle(project=mixed)
    dora = member("dora", "annotator")
    services.seats_settle(project=mixed)
    assert sum(answer_all(mixed, dora, ask)) in {7, 8}
    assert (differences(mixed), n_seats_wrong(mixed)) == ({}, 0)


@pytest.mark.slow
def test_a_gold_pair_takes_the_same_statements_and_looks_the_same(mixed, ann, client_for, api_for):
    desk, shapes, counts = client_for(ann), {}, {}
    services.vote_create(assignment=lease(mixed, ann)[0], choice="left", now=T0)  # the first has their name looked up
    held = lease(mixed, ann)[0]
    for _ in range(25):
        with CaptureQueriesContext(connection) as queries:
            body = {"assignment": held.pk, "choice": "left", "next": "1"}
            reply = desk.post(f"/p/{mixed.slug}/annotate/vote/", body, **JSON)
        assert reply.status_code == 201
        own = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
        n = sum(not one["sql"].startswith(own) for one in queries.captured_queries)
        found = re.search(r'data-assignment="(\d+)"', reply.json()["html"])
        held = Assignment.objects.get(pk=found.group(1))
        is_gold = held.priority == GOLD
        shapes.setdefault(is_gold, set()).add(
            (re.sub(r"\d+", "#", reply.json()["html"]), reply.json()["progress"]["total"], str(sorted(reply.json())))
        )
        counts.setdefault(is_gold, set()).add(n)
        assert n <= 10 + connection.features.has_select_for_update
    assert set(shapes) == {True, False}
    assert shapes[True] <= shapes[False]
    assert len(shapes[False]) == 2, "the sides are drawn by lot, of twenty pairs not all alike"
    assert counts[True] <= counts[False]
    told = api_for(ann).post(f"/api/v1/projects/{mixed.slug}/next/").json()
    assert "gold" not in str(sorted(told))


@pytest.mark.slow
def test_held_pairs_stay_where_they_were_given_and_gold_is_not_last(mixed, ann):
    first = lease(mixed, ann, 21)
    again = lease(mixed, ann, 21)
    assert {seat.pk for seat in first} == {seat.pk for seat in again}
    gold = [n for n, seat in enumerate(again) if seat.priority == GOLD]
    assert gold != list(range(21 - len(gold), 21)), "by their ids they would all be last"


@pytest.mark.slow
def test_marking_is_kept_from_training_and_review_and_can_be_taken_back(
    project, alice, make_comparison, make_verdict, bob
):
    pair = make_comparison(project)
    make_verdict(pair, "first")
    services.gold_mark(comparison=pair, outcome="second", by=bob, note=" read line 2 ")
    pair.refresh_from_db()
    assert (pair.gold, pair.held_out, pair.gold_item.note) == ("second", True, "read line 2")
    assert set(ReviewItem.objects.values_list("state", flat=True)) <= {"aside"}
    services.gold_unmark(comparison=pair, by=bob)
    pair.refresh_from_db()
    assert (pair.gold, pair.held_out, GoldItem.objects.count()) == ("", False, 0)
    verbs = AuditEvent.objects.filter(verb__startswith="gold.").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["gold.mark", "gold.unmark"]
    same = make_comparison(project, ("one", "one"), same_answers=True)
    for comparison, outcome in ((same, "first"), (pair, "best")):
        with pytest.raises(PrefloopError):
            services.gold_mark(comparison=comparison, outcome=outcome, by=bob)
    with pytest.raises(PrefloopError, match="at most 50 %"):
        services.gold_share_set(project=project, share=51, by=bob)


@pytest.mark.slow
def test_who_joins_gets_gold_too_and_the_leads_page_says_how_well(mixed, make_user, alice):
    dora = make_user("dora")
    member_add(project=mixed, user=dora, role=Role.ANNOTATOR, actor=alice)
    for seat in lease(mixed, dora, 21):
        services.vote_create(assignment=seat, choice="left" if seat.order == "01" else "right", now=T0)
    n = Vote.objects.exclude(comparison__gold="").count()
    assert n >= 3
    gold = crew_of(project=mixed, now=T0).people[0].report["gold"]
    assert gold["n"] == n
    assert gold["ci95"][0] < gold["rate"] < gold["ci95"][1]
    assert differences(mixed) == {}


@pytest.mark.slow
def test_judges_get_them_at_the_same_rate_and_once(project, alice, make_comparison, make_judge, make_verdict):
    ordinary = [make_comparison(project).pk for _ in range(8)]
    gold = [make_comparison(project) for _ in range(5)]
    for pair in gold:
        services.gold_mark(comparison=pair, outcome="first", by=alice)
    services.gold_share_set(project=project, share=20, by=alice)
    judge = make_judge(project, kind="world")
    known = {pair.pk for pair in gold}
    first = judging_run_create(project=project, judge=judge, comparison_ids=ordinary)
    mixed_in = known & set(first.comparison_ids)
    assert (len(mixed_in), len(first.comparison_ids)) == (2, 10)
    for pair in gold:
        if pair.pk in mixed_in:
            make_verdict(pair, "first", judge=judge)
    second = judging_run_create(project=project, judge=judge, comparison_ids=ordinary)
    assert not mixed_in & set(second.comparison_ids)
    measuring = judging_run_create(project=project, judge=judge, comparison_ids=ordinary, purpose="evaluation")
    assert measuring.comparison_ids == ordinary


@pytest.mark.slow
def test_a_lead_marks_and_lists_them_and_an_annotator_sees_no_such_page(
    project, bob, erin, ann, make_comparison, client_for, make_vote
):
    pair = make_comparison(project)
    url = f"/p/{project.slug}/review/gold/"
    for path in (url, f"{url}{pair.pk}/"):
        assert client_for(ann).post(path, {"choice": "first"}).status_code == 404
    lead = client_for(bob)
    assert "No gold pairs yet" in lead.get(url).content.decode()
    assert "Known answer" in lead.get(f"/p/{project.slug}/comparisons/{pair.pk}/").content.decode()
    lead.post(f"{url}{pair.pk}/", {"choice": "second", "note": "<i>polite</i>"})
    make_vote(pair, "second", user=ann)
    page = lead.get(url).content.decode()
    assert "&lt;i&gt;polite" in page
    assert "1 / 1" in page
    client_for(erin).get(url)
    assert Exposure.objects.filter(user=erin, comparison=pair).exists(), "whoever saw its answer can't vote blind on it"
    assert lead.post(url, {"share": "80"}).status_code == 400
    assert lead.post(url, {"share": "10"}).status_code == 302
    project.refresh_from_db()
    assert project.gold_share == 10
    lead.post(f"{url}{pair.pk}/", {"choice": "", "back": "gold"})
    assert "No gold pairs yet" in lead.get(url).content.decode()
