"""Steering a loop by the API: what its page does, for engineers, and nothing for anybody else."""

from __future__ import annotations

import pytest

from apps.training.changes import recipe_of
from apps.training.models import LoopState

pytestmark = pytest.mark.django_db
ACTIONS = ("pause/", "resume/", "cancel/", "continue/", "changes/", "rounds/1/without-overrides/")


@pytest.mark.slow
def test_a_loop_is_listed_paused_changed_resumed_and_cancelled(start, drive, erin, bob, api_for):
    loop, api = start(n_rounds=2), api_for(erin)
    at = f"/api/v1/loops/{loop.pk}/"
    listed = api_for(bob).get("/api/v1/projects/letters-test/loops/").json()
    assert [(row["id"], row["recipe"], row["state"]) for row in listed] == [(loop.pk, "iterative-dpo", "queued")]
    assert api.post(f"{at}pause/").json()["state"] == "paused"
    again = api.post(f"{at}pause/")
    assert (again.status_code, "nothing to pause" in again.json()["detail"]) == (400, True)
    changed = api.post(f"{at}changes/", {"set": {"objective.beta": 0.3}, "rounds": 3}, format="json")
    assert (changed.status_code, changed.json()["n_rounds"]) == (201, 3)
    loop.refresh_from_db()
    assert recipe_of(loop).objective.beta == 0.3
    bad = api.post(f"{at}changes/", {"set": {"objective.beta": -1}}, format="json")
    assert (bad.status_code, "objective.beta must be" in bad.json()["detail"]) == (400, True)
    assert api.post(f"{at}resume/").json()["state"] in ("queued", "running")
    assert api.post(f"{at}cancel/").json()["state"] in ("cancelled", "cancelling")
    drive()
    loop.refresh_from_db()
    assert loop.state == LoopState.CANCELLED


@pytest.mark.slow
def test_the_review_is_left_and_a_round_without_overrides_needs_some(start, drive, erin, api_for):
    loop, api = start(n_rounds=1, **{"review.mode": "all"}), api_for(erin)
    at = f"/api/v1/loops/{loop.pk}/"
    drive()
    assert api.get(at).json()["stage"] == "review"
    assert api.post(f"{at}continue/").status_code == 200
    drive()
    assert api.get(at).json()["state"] == "done"
    refused = api.post(f"{at}rounds/1/without-overrides/")
    assert (refused.status_code, "no overridden label" in refused.json()["detail"]) == (400, True)
    assert api.post(f"{at}rounds/9/without-overrides/").status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_only_engineers_steer(start, action, ann, bob, charlie, api_for):
    loop = start(n_rounds=1)
    for person in (ann, bob, charlie):
        assert api_for(person).post(f"/api/v1/loops/{loop.pk}/{action}").status_code == 404
    loop.refresh_from_db()
    assert loop.state == LoopState.QUEUED
