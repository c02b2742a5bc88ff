"""Agreeing with several of a judge's labels in one step, and taking the step back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from apps.labels.models import Override
from apps.labels.selectors import decision_of
from apps.rankings import selectors, services
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def judge(project, make_judge):
    return make_judge(project, "main", order_policy="random")


@pytest.fixture
def judged(project, judge, make_comparison, make_verdict):
    """Five comparisons with a label of the judge, one with a reply that could not be read, and a held-out one."""
    made = [make_comparison(project) for _ in range(6)]
    for k, comparison in enumerate(made[:5]):
        make_verdict(comparison, "first", judge=judge, p_first=0.95 - 0.05 * k)
    make_verdict(made[5], "", judge=judge)
    make_verdict(make_comparison(project, held_out=True), "first", judge=judge)
    return made


def agree(project, judge, rows, user):
    ids = [row.pk for row in rows]
    return services.agree_many(project=project, judge=judge, comparison_ids=ids, user=user, now=T0)


def kinds(rows):
    return [decision.kind if (decision := decision_of(row)) else "" for row in rows]


@pytest.mark.slow
def test_one_step_agrees_with_many_and_one_undo_takes_it_back(project, judge, judged, bob):
    services.override_create(comparison=judged[4], judge=judge, user=bob, kind="override", choice="tie", now=T0)
    assert agree(project, judge, judged[:3], bob) == 3
    assert kinds(judged) == ["agree"] * 3 + ["", "override", ""]
    assert services.override_undo(project=project, user=bob, now=T0).comparison in judged[:3]
    assert kinds(judged) == ["", "", "", "", "override", ""]
    services.override_undo(project=project, user=bob, now=T0)
    assert kinds(judged) == [""] * 6
    with pytest.raises(services.NoDecision):
        services.override_undo(project=project, user=bob, now=T0)
    assert Override.objects.count() == 8  # nothing is deleted


@pytest.mark.slow
def test_what_was_decided_meanwhile_or_has_no_label_is_left_out(project, judge, judged, bob, erin):
    services.override_create(comparison=judged[0], judge=judge, user=erin, kind="override", choice="second", now=T0)
    held_out = project.comparisons.get(held_out=True)
    assert agree(project, judge, [*judged, held_out], bob) == 4
    assert kinds(judged) == ["override", "agree", "agree", "agree", "agree", ""]
    services.override_undo(project=project, user=bob, now=T0)
    assert kinds(judged) == ["override", "", "", "", "", ""]


@pytest.mark.slow
def test_a_decision_changed_since_is_not_taken_back_with_the_step(project, judge, judged, bob):
    agree(project, judge, judged[:2], bob)
    services.override_create(comparison=judged[0], judge=judge, user=bob, kind="override", choice="tie", now=T0)
    services.override_undo(project=project, user=bob, now=T0)  # the change
    services.override_undo(project=project, user=bob, now=T0)  # what is left of the step
    assert kinds(judged[:2]) == ["", ""]


@pytest.mark.slow
def test_too_many_at_once_are_refused_whole(project, judge, judged, bob):
    with pytest.raises(services.BadDecision, match="at most 200"):
        services.agree_many(project=project, judge=judge, comparison_ids=range(1, 202), user=bob, now=T0)
    assert Override.objects.count() == 0


@pytest.mark.slow
def test_the_page_shows_the_surest_first_and_undo_survives_a_reload(project, judge, judged, bob, client_for):
    client, at = client_for(bob), reverse("rankings:review-several", args=[project.slug])
    page = client.get(at).content.decode()
    places = [page.index(f'id="agree-{row.pk}"') for row in judged[:5]]
    assert len(set(places)) == 5
    assert f'id="agree-{judged[5].pk}"' not in page
    assert set(Exposure.objects.filter(user=bob).values_list("comparison_id", flat=True)) == {r.pk for r in judged[:5]}
    done = client.post(at, {"judge": "main", "id": [judged[0].pk, judged[1].pk]}, follow=True).content.decode()
    assert "You agreed with 2 labels." in done
    assert selectors.n_to_review(project, judge=judge) == 4
    client_for(bob).post(reverse("rankings:review-undo", args=[project.slug]))  # another session of the same person
    assert selectors.n_to_review(project, judge=judge) == 6
    assert "Nothing was ticked" in client.post(at, {"judge": "main"}, follow=True).content.decode()


def test_line_breaks_of_answers_are_kept(project, judge, make_comparison, make_verdict, bob, client_for):
    pair = make_comparison(project, ("Dear Maria,\nthank **you**.", "Hey,\nok."))
    make_verdict(pair, "first", judge=judge, p_first=0.95)
    page = client_for(bob).get(reverse("rankings:review-several", args=[project.slug])).content.decode()
    assert "Dear Maria,<br>\nthank <strong>you</strong>." in page
    assert "Hey,<br>\nok." in page


@pytest.mark.slow
def test_who_may_not_review_may_not_agree(project, judge, judged, ann, charlie, client_for, api_for):
    project.annotators_may_override = False
    project.save()
    at = reverse("rankings:review-several", args=[project.slug])
    for user in (ann, charlie):
        assert client_for(user).post(at, {"judge": "main", "id": [judged[0].pk]}).status_code == 404
        body = {"judge": "main", "comparisons": [judged[0].pk]}
        assert (
            api_for(user).post(f"/api/v1/projects/{project.slug}/agreements/", body, format="json").status_code == 404
        )
    assert Override.objects.count() == 0


@pytest.mark.slow
def test_the_api_agrees_and_takes_back(project, judge, judged, bob, api_for):
    api, at = api_for(bob), f"/api/v1/projects/{project.slug}/agreements/"
    said = api.post(at, {"judge": "main", "comparisons": [row.pk for row in judged]}, format="json")
    assert (said.status_code, said.json()) == (200, {"n_agreed": 5})
    assert api.post(at, {"judge": "nobody", "comparisons": [1]}, format="json").status_code == 400
    assert api.post(at, {"judge": "main", "comparisons": []}, format="json").status_code == 400
    assert (api.delete(at).status_code, api.delete(at).status_code) == (204, 409)
    assert kinds(judged) == [""] * 6
