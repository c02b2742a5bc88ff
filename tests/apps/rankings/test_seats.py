"""Seats: as many as votes are wanted, taken in order, never walked twice; and counts that a recount agrees with."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.labels.exclusions import exclusion_create
from apps.labels.models import Preference, Vote
from apps.projects.services import label_policy_set
from apps.rankings import selectors, services
from apps.rankings.models import Assignment, Place
from apps.rankings.services.counts import differences
from apps.rankings.services.take import LEASE
from apps.samples import exposure
from apps.samples.services import comparisons_create
from prefloop.types import PrefloopError
from tests.apps.rankings.queue_oracle import left_for

pytestmark = pytest.mark.postgresql
T0 = datetime(2026, 1, 1, tzinfo=UTC)
JSON = {"HTTP_ACCEPT": "application/json"}


def lease(project, user, now=T0):
    return services.assignment_next(project=project, user=user, now=now, rng=random.Random(0))


def set_votes(project, n):
    label_policy_set(project=project, actor=None, votes_per_comparison=n, annotators_may_override=True)


def free(project):
    return Assignment.objects.filter(project=project, state="free").count()


def statements(queries):
    """The statements, without those that open and close transactions."""
    own = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [one["sql"] for one in queries.captured_queries if not one["sql"].startswith(own)]


def test_a_comparison_is_made_with_a_seat_for_every_vote_that_is_wanted(project, make_prompt, make_completion):
    set_votes(project, 3)
    prompt = make_prompt(project)
    answers = [make_completion(prompt, text) for text in ("a", "b", "b")]
    pairs = [(answers[0], answers[1]), (answers[1], answers[2])]
    for _ in range(2):  # made again, it is not given again
        comparisons_create(project=project, pairs=pairs, origin="manual")
        assert free(project) == 3  # nobody is asked about equal answers
        assert Place.objects.get(project=project, user=None).n_open == 1


@pytest.mark.slow
def test_seats_come_and_go_with_the_number_of_votes_that_a_project_wants(project, ann, bob, make_comparison):
    for _ in range(3):
        make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    lease(project, bob)
    for n, left in ((3, 2 + 2 + 3), (1, 1), (2, 1 + 1 + 2)):
        set_votes(project, n)
        assert free(project) == left
        assert differences(project) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_counts_are_what_a_recount_says(
    seed, project, alice, ann, bob, make_comparison, make_comparisons
):
    rng = random.Random(seed)
    people, now, said = [alice, ann, bob], T0, 0
    make_comparisons(project, 14)
    for step in range(50):
        person = rng.choice(people)
        now += timedelta(minutes=rng.choice([0, 1, 16]))
        what = rng.choice(["vote", "vote", "next", "skip", "undo", "see", "wanted", "link", "late", "more"])
        held = lease(project, person, now) if what in {"vote", "next", "skip"} else None
        try:
            if held is not None:
                choice = "skip" if what == "skip" else rng.choice(["left", "right", "tie"])
                given = {"assignment": held, "choice": choice, "now": now}
                if what == "vote":
                    services.vote_create(**given)
                else:
                    services.vote_and_next(**given, rng=rng)
                said += 1
            elif what == "undo":
                services.vote_undo(project=project, user=person, now=now)
            elif what == "see":
                one = rng.choice(list(project.comparisons.order_by("id")))
                exposure.shown(user_id=person.pk, comparison_ids=[one.pk], where="test")
            elif what == "wanted":
                set_votes(project, rng.choice([1, 2, 3]))
            elif what == "link":
                one = rng.choice(list(project.comparisons.select_related("project").order_by("id")))
                services.assignment_for_comparison(comparison=one, user=person, now=now, rng=rng)
            elif what == "late":
                ended = list(Assignment.objects.filter(user=person, state="expired").order_by("id"))
                if ended:
                    services.vote_create(assignment=rng.choice(ended), choice="left", now=now)
            elif what == "more":
                make_comparison(project)
        except PrefloopError:
            pass  # refused: nothing may have changed
        assert differences(project) == {}, (step, what)
        for one, left in left_for(project, people, now).items():
            assert selectors.n_wanting(project=project, user=one, now=now) == len(left), (step, what)
    assert said > 5


def test_a_late_vote_ends_the_seat_that_the_person_was_given_after_it(project, ann, bob, make_comparison):
    make_comparison(project)
    late = lease(project, ann)
    later = T0 + 2 * LEASE
    held_by_bob = lease(project, bob, later)  # sweeps ann's
    services.vote_create(assignment=held_by_bob, choice="skip", now=later)
    again = lease(project, ann, later)
    assert (again.comparison_id, again.pk) != (late.comparison_id, late.pk)
    services.vote_create(assignment=late, choice="left", now=later)
    assert not Assignment.objects.filter(state="open").exists()
    assert selectors.n_wanting(project=project, user=ann, now=later) == 0
    assert lease(project, ann, later) is None
    assert differences(project) == {}


@pytest.mark.slow
def test_a_lease_that_ran_out_on_a_pair_with_enough_votes_is_nobodys_work(project, alice, ann, bob, make_comparison):
    set_votes(project, 2)
    make_comparison(project)
    services.vote_create(assignment=lease(project, bob), choice="left", now=T0)
    assert lease(project, ann) is not None
    later = T0 + 2 * LEASE
    assert selectors.n_wanting(project=project, user=alice, now=later) == 1
    set_votes(project, 1)
    assert selectors.n_wanting(project=project, user=alice, now=later) == 0
    assert lease(project, alice, later) is None


@pytest.mark.slow
def test_what_a_person_has_passed_is_not_looked_at_again(project, ann, make_comparisons):
    set_votes(project, 2)  # so that every pair keeps a free seat, which is not for her
    make_comparisons(project, 12)
    for n in range(10):
        held = lease(project, ann)
        services.vote_create(assignment=held, choice="left" if n % 3 else "skip", now=T0)
    place = Place.objects.get(project=project, user=ann)
    assert place.reached == {"1": held.pk}
    assert Assignment.objects.filter(project=project, user=None, pk__lt=held.pk).exists()
    assert lease(project, ann).pk > held.pk


@pytest.mark.slow
def test_what_was_passed_while_another_had_it_is_found_at_the_end(project, ann, make_comparison):
    first = make_comparison(project)
    make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    services.vote_undo(project=project, user=ann, now=T0)
    back = Assignment.objects.get(comparison=first)
    # as if her statement had passed over it: free again, behind the place that she has reached
    Place.objects.filter(user=ann).update(reached={"1": back.pk + 10})
    assert lease(project, ann).comparison_id == first.pk
    services.vote_create(assignment=back, choice="left", now=T0)
    assert lease(project, ann) is not None


@pytest.mark.slow
@pytest.mark.parametrize("by", ["desk", "program"])
def test_a_vote_with_the_next_pair_takes_ten_statements(by, project, ann, make_comparison, client_for, api_for):
    for _ in range(6):
        make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    held = lease(project, ann, now=datetime.now(UTC))
    desk, program = client_for(ann), api_for(ann)
    with CaptureQueriesContext(connection) as queries:
        if by == "desk":
            url = f"/p/{project.slug}/annotate/vote/"
            reply = desk.post(url, {"assignment": held.pk, "choice": "left", "next": "1"}, **JSON)
            given = 'data-assignment="' in reply.json()["html"]
        else:
            body = {"assignment": held.pk, "choice": "left", "next": True}
            reply = program.post("/api/v1/votes/", body, format="json")
            given = reply.json()["next"]["assignment"] > held.pk
    assert (reply.status_code, given) == (201, True)
    made = statements(queries)
    locks = connection.features.has_select_for_update  # the comparison's lock is a statement of its own there
    assert len(made) <= 10 + locks, "\n".join(made)


@pytest.mark.slow
def test_a_vote_brings_the_next_pair_once_and_null_at_the_end(project, ann, make_comparison, api_for):
    first, second = make_comparison(project), make_comparison(project)
    api = api_for(ann)
    held = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    body = {"assignment": held["assignment"], "choice": "tie", "next": True}
    reply = api.post("/api/v1/votes/", body, format="json").json()
    assert (held["comparison"], reply["next"]["comparison"]) == (first.pk, second.pk)
    again = api.post("/api/v1/votes/", body, format="json")
    assert (again.status_code, again.json()["next"]) == (200, None)
    last = {"assignment": reply["next"]["assignment"], "choice": "left", "next": True}
    assert api.post("/api/v1/votes/", last, format="json").json()["next"] is None
    assert Vote.objects.count() == 2


@pytest.mark.slow
def test_the_command_says_what_is_wrong_and_corrects_it(project, ann, make_comparison):
    make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    make_comparison(project)
    out = StringIO()
    call_command("check_queue", project.slug, stdout=out)
    assert "every number is right" in out.getvalue()
    Place.objects.filter(user=ann).update(n_done=7)
    with pytest.raises(CommandError, match="1 of the kept numbers"):
        call_command("check_queue", stdout=out)
    assert f"{project.slug}: n_done of ann is kept as 7, counted 1" in out.getvalue()
    call_command("check_queue", "--repair", stdout=out)
    assert differences(project) == {}
    with pytest.raises(CommandError, match="no project"):
        call_command("check_queue", "nowhere", stdout=out)


@pytest.mark.slow
def test_what_an_excluded_person_votes_makes_no_label(project, ann, alice, make_comparison):
    for _ in range(2):
        make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    exclusion_create(project=project, rater="ann", since=None, reason="", by=alice, now=T0)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    assert Vote.objects.count() == 2
    assert not Preference.objects.exists()
    assert differences(project) == {}


@pytest.mark.slow
def test_a_lease_that_ran_out_is_anothers_when_they_ask_and_counts_as_left_before(project, ann, bob, make_comparison):
    make_comparison(project)
    mine = lease(project, ann)
    late = T0 + LEASE + timedelta(seconds=1)
    assert [selectors.n_wanting(project=project, user=bob, now=at) for at in (T0, late)] == [0, 1]
    assert lease(project, bob, late).comparison_id == mine.comparison_id
    assert selectors.n_wanting(project=project, user=ann, now=late) == 0
    assert differences(project) == {}
