"""The ways in which somebody learns a label before a vote, each closed: the vote is refused, or nothing is told."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.labels.models import Override, Vote
from apps.labels.selectors import standing_votes
from apps.rankings import selectors, services
from apps.rankings.models import Assignment
from apps.rankings.services.assign import LEASE
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
JSON = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def pair(project, make_comparison, make_verdict, make_judge):
    """A pair that the judge `main` has labelled; leads may review it, and annotators too."""
    comparison = make_comparison(project)
    make_verdict(comparison, "first", judge=make_judge(project, "main", order_policy="random"), p_first=0.9)
    return comparison


def lease(pair, user, now=None):
    return services.assignment_for_comparison(
        comparison=pair, user=user, now=now or timezone.now(), rng=random.Random(0)
    )


def vote_by_page(client, assignment):
    return client.post(
        f"/p/{assignment.project.slug}/annotate/vote/", {"assignment": assignment.pk, "choice": "left"}, **JSON
    )


@pytest.mark.slow
def test_an_old_assignment_is_no_way_around_the_review_page(project, pair, ann, bob, client_for, api_for):
    """The lease runs out, somebody else leases, the first looks at the verdict and then sends the old assignment."""
    old = lease(pair, ann, timezone.now() - 2 * LEASE)
    Assignment.objects.filter(pk=old.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
    lease(pair, bob)
    assert Assignment.objects.get(pk=old.pk).state == "expired"
    Assignment.objects.filter(user=bob).update(lease_until=timezone.now() - timedelta(minutes=1))  # and there is room
    assert client_for(ann).get(f"/p/{project.slug}/review/{pair.pk}/").status_code == 200
    refused = vote_by_page(client_for(ann), old)
    assert (refused.status_code, "blind" in refused.json()["detail"]) == (409, True)
    assert (
        api_for(ann).post("/api/v1/votes/", {"assignment": old.pk, "choice": "left"}, format="json").status_code == 409
    )
    assert not Vote.objects.exists()


@pytest.mark.slow
def test_a_decision_by_program_ends_blindness_like_one_on_the_page(project, pair, ann, client_for):
    held = lease(pair, ann)
    told = client_for(ann).post(f"/p/{project.slug}/review/{pair.pk}/decide/", {"kind": "agree"}, **JSON)
    assert told.json()["choice"] == "A", "it tells what the judge chose"
    assert Exposure.objects.filter(user=ann, comparison=pair).exists()
    assert vote_by_page(client_for(ann), held).status_code == 409
    assert not Vote.objects.exists()


@pytest.mark.slow
def test_taking_back_what_one_never_said_tells_nothing(project, pair, ann, bob, client_for):
    judge = pair.verdicts.get().judge
    services.override_create(comparison=pair, judge=judge, user=bob, choice="second", now=timezone.now())
    held = lease(pair, ann)
    refused = client_for(ann).post(f"/p/{project.slug}/review/{pair.pk}/withdraw/", **JSON)
    assert (refused.status_code, set(refused.json())) == (409, {"detail"})
    plain = client_for(ann).post(f"/p/{project.slug}/review/{pair.pk}/withdraw/")
    assert plain.status_code == 302
    assert str(pair.pk) not in plain.headers["Location"], "nor is the pair opened"
    assert Override.objects.get().user == bob
    assert vote_by_page(client_for(ann), held).status_code == 201, "and so the vote is blind"


@pytest.mark.slow
def test_the_list_says_nothing_of_people_about_a_pair_that_was_not_opened(
    project, pair, alice, ann, bob, client_for, make_comparison, make_verdict, make_vote
):
    """Not by its reason, not by its place, and of a decision only that there is one."""
    judge = pair.verdicts.get().judge
    close = make_comparison(project)
    make_verdict(close, "first", judge=judge, p_first=0.6)
    make_vote(pair, "second", user=alice)
    for person, with_people in ((bob, True), (ann, False)):
        items = selectors.review_queue(project, judge=judge, viewer=person, with_people=with_people)
        assert [(item.comparison_id, item.worth.code) for item in items] == [(close.pk, "margin"), (pair.pk, "sample")]
    assert "people say otherwise" not in client_for(bob).get(f"/p/{project.slug}/review/?judge=main").content.decode()
    client_for(bob).get(f"/p/{project.slug}/review/{pair.pk}/")
    assert "people say otherwise" in client_for(bob).get(f"/p/{project.slug}/review/").content.decode()
    for item in (f"/p/{project.slug}/review/{pair.pk}/", f"/p/{project.slug}/review/{pair.pk}/?part=detail"):
        assert "people say otherwise" not in client_for(ann).get(item).content.decode(), "votes are for leads"
    services.override_create(comparison=close, judge=judge, user=alice, choice="second", now=timezone.now())
    (done,) = selectors.review_queue(project, judge=judge, decided=True, viewer=ann, with_people=False)
    assert (done.decision, done.decided_by) == ("decided", "")
    (done,) = selectors.review_queue(project, judge=judge, decided=True, viewer=alice)
    assert (done.decision, done.decided_by) == ("override", "alice")


@pytest.mark.slow
def test_an_export_is_a_label_shown_but_ones_own_vote_is_not(project, pair, erin, client_for, make_comparison):
    own = make_comparison(project)
    services.vote_create(assignment=lease(own, erin), choice="left", now=timezone.now())
    held = lease(pair, erin)
    whole = client_for(erin).get(f"/p/{project.slug}/data/export/?format=records")
    assert b"main" in b"".join(whole.streaming_content)
    assert list(Exposure.objects.filter(user=erin).values_list("comparison_id", flat=True)) == [pair.pk]
    assert vote_by_page(client_for(erin), held).status_code == 409
    assert services.vote_undo(project=project, user=erin, now=timezone.now()).comparison_id == own.pk


def test_opening_the_data_page_costs_nobody_a_vote(project, pair, erin, client_for):
    page = client_for(erin).get(f"/p/{project.slug}/data/").content.decode()
    assert "Download" in page
    assert not Exposure.objects.exists()


@pytest.mark.slow
def test_a_lease_ends_with_blindness_and_its_place_is_free_at_once(project, pair, ann, bob, client_for):
    lease(pair, ann)
    assert lease(pair, bob) is None, "one vote is asked for, and somebody holds the place"
    client_for(ann).get(f"/p/{project.slug}/review/{pair.pk}/")
    assert services.assignment_next(project=project, user=ann, now=timezone.now(), rng=random.Random(0)) is None
    assert lease(pair, bob) is not None
    assert selectors.n_wanting(project=project, user=ann, now=timezone.now()) == 0
    assert selectors.n_wanting(project=project, user=bob, now=timezone.now()) == 1


@pytest.mark.slow
def test_an_account_named_like_an_imported_rater_is_somebody_else(
    project, pair, make_comparison, make_vote, member, client_for
):
    """Neither the votes nor the decisions of that rater are theirs to take back, to replace or to be kept from work."""
    judge = pair.verdicts.get().judge
    project.votes_per_comparison = 2
    project.save()
    make_vote(pair, "second", rater="annotator1")
    Override.objects.create(comparison=pair, judge=judge, rater="annotator1", kind="override", choice="second")
    person = member("annotator1", "annotator")
    refused = client_for(person).post(f"/p/{project.slug}/review/{pair.pk}/withdraw/", **JSON)
    assert refused.status_code == 409
    assert Override.objects.get().kind == "override", "nothing was taken back"
    held = lease(pair, person)
    assert held is not None, "an imported vote under their name does not keep them from work"
    voted = services.vote_create(assignment=held, choice="tie", now=timezone.now()).vote
    assert (voted.rater, voted.supersedes) == ("annotator1 (account)", None)
    assert standing_votes().filter(comparison=pair).count() == 2
    other = make_comparison(project)
    again = services.vote_create(assignment=lease(other, person), choice="tie", now=timezone.now()).vote
    assert again.rater == "annotator1 (account)", "one name a person, also where no import is in the way"


def test_what_people_had_seen_before_is_carried_over(project, pair, ann, bob):
    from importlib import import_module

    from django.apps import apps

    Assignment.objects.create(
        project=project, comparison=pair, user=ann, order="01", lease_until=timezone.now(), state="seen"
    )
    Override.objects.create(comparison=pair, judge=pair.verdicts.get().judge, user=bob, rater="bob", kind="agree")
    carry_over = import_module("apps.rankings.migrations.0005_seen_is_an_exposure").carry_over
    for _ in range(2):  # again is no harm
        carry_over(apps, None)
        assert set(Exposure.objects.values_list("user__username", flat=True)) == {"ann", "bob"}
    assert not Assignment.objects.filter(state="seen").exists()
