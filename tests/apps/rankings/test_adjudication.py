"""Pairs on which people split: which they are, a lead's decision above the votes, its undoing, and its export."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from apps.core.models import AuditEvent
from apps.labels.columns import pairs_of, votes_of
from apps.labels.exclusions import exclusion_create
from apps.labels.models import Preference, Vote
from apps.labels.services import preferences_derive
from apps.rankings import selectors, services

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def voted(project, make_comparison, make_vote):
    """voted("first", "second", …): a comparison with these votes by ann, ben, cat, …"""

    def make(*choices, **fields):
        comparison = make_comparison(project, **fields)
        for rater, choice in zip(("ann", "ben", "cat", "dan"), choices, strict=False):
            make_vote(comparison, choice, rater=rater, at=T0)
        preferences_derive(project=project, comparison_ids=[comparison.pk], now=T0)
        return comparison

    return make


def decide(comparison, user, choice="second", **more):
    return services.adjudication_create(comparison=comparison, user=user, choice=choice, now=T0, **more)


@pytest.mark.slow
def test_pairs_without_a_majority_come_first_then_the_closest(project, voted):
    clear = voted("first", "first", "first", "second")
    even = voted("first", "second")
    close = voted("first", "first", "tie")
    voted("first", "first")
    voted("first", "skip")
    voted("first", "second", held_out=True)
    voted("first", "second", same_answers=True)
    found = selectors.split_pairs(project)
    assert [pair.comparison_id for pair in found] == [even.pk, close.pk, clear.pk]
    assert [(p.n_votes, p.n_largest, p.has_majority) for p in found] == [(2, 1, False), (3, 2, True), (4, 3, True)]
    project.votes_per_comparison = 3  # a pair that still wants votes is not settled
    assert [pair.comparison_id for pair in selectors.split_pairs(project)] == [close.pk, clear.pk]


@pytest.mark.slow
def test_a_decision_stands_above_the_majority_and_keeps_every_vote(project, voted, bob):
    pair = voted("first", "first", "second")
    made = decide(pair, bob, reason="B names the thing")
    label = Preference.objects.get(comparison=pair)
    assert (label.outcome, label.source, label.label_ids) == ("second", "adjudication", [f"vote:{made.pk}"])
    assert Vote.objects.filter(comparison=pair, adjudication=False).count() == 3
    assert votes_of(project, pairs_of(project)).names == ("ann", "ben", "cat")  # no report takes it for a vote
    assert selectors.split_pairs(project) == []
    assert [p.adjudication for p in selectors.split_pairs(project, decided=True)] == [made]
    assert decide(pair, bob, reason="B names the thing") == made
    changed = decide(pair, bob, "tie")
    assert changed.supersedes == made
    assert Preference.objects.get(comparison=pair).outcome == "tie"


@pytest.mark.slow
def test_undoing_goes_back_one_decision_at_a_time_and_survives_everything(project, voted, bob, erin):
    one, two = voted("first", "first", "second"), voted("first", "second")
    decide(one, bob)
    decide(two, bob)
    decide(two, erin, "first")
    assert Preference.objects.get(comparison=two).outcome == "first"  # the later of two leads
    assert services.adjudication_undo(project=project, user=bob, now=T0).comparison == two
    assert Preference.objects.get(comparison=two).outcome == "first"  # another's decision stays
    assert services.adjudication_undo(project=project, user=bob, now=T0).comparison == one
    assert Preference.objects.get(comparison=one).source == "human"
    with pytest.raises(services.NoDecision):
        services.adjudication_undo(project=project, user=bob, now=T0)
    verbs = list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))
    assert verbs == ["adjudication.create"] * 3 + ["adjudication.withdraw"] * 2


def test_a_lead_may_have_voted_blind_before_and_both_stand(project, make_comparison, make_vote, bob):
    pair = make_comparison(project)
    blind = make_vote(pair, "first", user=bob)
    make_vote(pair, "tie", rater="ann")
    decide(pair, bob)
    services.adjudication_undo(project=project, user=bob, now=T0)
    decide(pair, bob, "both_bad")
    assert Vote.objects.get(pk=blind.pk).choice == "first"
    assert not Vote.objects.filter(supersedes=blind).exists()
    assert Preference.objects.get(comparison=pair).outcome == "both_bad"


def test_bad_decisions_change_nothing(project, voted, bob):
    pair = voted("first", "second")
    for choice in ("skip", "withdrawn", "", "left"):
        with pytest.raises(services.BadDecision):
            decide(pair, bob, choice)
    with pytest.raises(services.BadDecision):
        decide(pair, bob, reason="x" * 2001)
    assert Vote.objects.filter(adjudication=True).count() == 0


@pytest.mark.slow
def test_what_an_excluded_lead_decided_is_open_again(project, voted, bob, erin):
    pair = voted("first", "second")
    decide(pair, bob)
    exclusion_create(project=project, rater="bob", since=None, reason="", by=erin, now=T0)
    assert [p.comparison_id for p in selectors.split_pairs(project)] == [pair.pk]
    assert not Preference.objects.filter(comparison=pair).exists()


@pytest.mark.slow
def test_on_the_page_one_decides_and_gets_the_next(project, voted, bob, client_for):
    one, two = voted("first", "second"), voted("tie", "second")
    client, at = client_for(bob), reverse("rankings:split", args=[project.slug])
    page = client.get(at).content.decode()
    assert "1 of 2" in page
    assert f'name="next" value="{two.pk}"' in page
    answer = client.post(
        reverse("rankings:split-decide", args=[project.slug, one.pk]), {"choice": "first", "next": two.pk}
    )
    assert answer.headers["Location"] == f"{at}?at={two.pk}"
    assert Preference.objects.get(comparison=one).source == "adjudication"
    assert "decided by bob" in client.get(at, {"show": "done"}).content.decode()
    client.post(reverse("rankings:split-undo", args=[project.slug]))
    assert not Preference.objects.filter(comparison=one).exists()
    assert (
        "You have no decision to undo here"
        in client.post(reverse("rankings:split-undo", args=[project.slug]), follow=True).content.decode()
    )
    assert Vote.objects.filter(comparison=one, adjudication=True).count() == 2


def test_both_answers_are_shown_the_same_way_however_long_one_is(project, voted, bob, client_for):
    voted("first", "second", texts=("wall " * 1_001, "**kind**"))
    page = client_for(bob).get(reverse("rankings:split", args=[project.slug])).content.decode()
    assert page.count('<pre class="raw">') == 2
    assert "**kind**" in page


@pytest.mark.slow
@pytest.mark.parametrize("who", ["ann", "charlie"])
def test_only_leads_decide(project, voted, who, request, client_for, api_for):
    pair, user = voted("first", "second"), request.getfixturevalue(who)
    client = client_for(user)
    assert client.get(reverse("rankings:split", args=[project.slug])).status_code == 404
    at = reverse("rankings:split-decide", args=[project.slug, pair.pk])
    assert client.post(at, {"choice": "first"}).status_code == 404
    assert client.post(reverse("rankings:split-undo", args=[project.slug])).status_code == 404
    base = f"/api/v1/projects/{project.slug}"
    assert api_for(user).put(f"{base}/adjudications/{pair.pk}/", {"choice": "tie"}, format="json").status_code == 404
    assert api_for(user).get(f"{base}/comparisons/{pair.pk}/history/").status_code == 404
    assert not Vote.objects.filter(adjudication=True).exists()


@pytest.mark.slow
def test_the_api_lists_decides_withdraws_and_tells_the_history(project, voted, bob, erin, api_for):
    pair, api, base = voted("first", "second"), api_for(bob), f"/api/v1/projects/{project.slug}"
    listed = api.get(f"{base}/adjudications/").json()
    assert listed == [
        {"comparison": pair.pk, "n_votes": 2, "n_largest": 1, "n_cant_judge": 0, "has_majority": False}
        | {"criterion": "", "choice": "", "decided_by": ""}
    ]
    assert api.put(f"{base}/adjudications/{pair.pk}/", {"choice": "left"}, format="json").status_code == 400
    made = api.put(f"{base}/adjudications/{pair.pk}/", {"choice": "tie", "reason": "equal"}, format="json")
    assert (made.status_code, made.json()["choice"]) == (200, "tie")
    assert api.get(f"{base}/adjudications/", {"decided": "true"}).json()[0]["decided_by"] == "bob"
    row = exclusion_create(project=project, rater="ann", since=None, reason="asleep", by=erin, now=T0)
    told = api.get(f"{base}/comparisons/{pair.pk}/history/").json()
    said = {(event["kind"], event["who"], event["said"], event["counts"]) for event in told}
    assert said == {
        ("vote", "ann", "first", False),
        ("vote", "ben", "second", True),
        ("adjudication", "bob", "tie", True),
        ("excluded", "ann", "", True),
        ("seen", "bob", "adjudication", True),  # the list that he decided it from
    }
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    assert {event["reason"] for event in told if event["kind"] == "excluded"} == {row.reason}
    assert api.delete(f"{base}/adjudications/{pair.pk}/").status_code == 204
    assert api.delete(f"{base}/adjudications/{pair.pk}/").status_code == 409


@pytest.mark.slow
def test_the_history_of_a_pair_is_on_its_page(project, voted, bob, erin, client_for):
    pair = voted("first", "second")
    decide(pair, bob, "tie", reason="equal")
    exclusion_create(project=project, rater="ann", since=T0, reason="asleep", by=erin, now=T0)
    page = client_for(bob).get(reverse("rankings:comparison", args=[project.slug, pair.pk])).content.decode()
    for text in ("does not count", "Excluded", "asleep", "erin", "equal", "labels since 2026-01-01"):
        assert text in page
