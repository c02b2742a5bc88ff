"""Projects, their settings and guidelines by the API: as on the settings page, by the same people."""

from __future__ import annotations

import pytest

from apps.core.models import AuditEvent
from apps.projects.models import Guideline, Membership, Project

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"


def test_a_project_is_made_where_the_operator_allows_it(ann, make_user, api_for, settings):
    operator = make_user("operator", is_superuser=True)
    assert api_for(ann).post("/api/v1/projects/", {"name": "Mine"}, format="json").status_code == 404
    api = api_for(operator)
    made = api.post("/api/v1/projects/", {"name": "Thank you!", "criterion": "Kind."}, format="json")
    assert (made.status_code, made.json()["slug"], made.json()["criterion"]) == (201, "thank-you", "Kind.")
    assert Membership.objects.get(project__slug="thank-you").role == "owner"
    again = api.post("/api/v1/projects/", {"name": "Thank you!"}, format="json")
    assert (again.status_code, "is taken" in again.json()["detail"]) == (400, True)
    nameless = api.post("/api/v1/projects/", {}, format="json")
    assert (nameless.status_code, nameless.json()["detail"]) == (400, "name: This field is required.")
    assert [row["slug"] for row in api.get("/api/v1/projects/").json()] == ["thank-you"]
    assert [row["slug"] for row in api_for(ann).get("/api/v1/projects/").json()] == ["letters-test"]


def test_a_demo_is_made_once(make_user, ann, api_for):
    api = api_for(make_user("operator", is_superuser=True))
    assert api.post("/api/v1/demos/chess/").status_code == 404
    made = api.post("/api/v1/demos/letters/")
    assert (made.status_code, made.json()["slug"]) == (201, "letters")
    assert Project.objects.get(slug="letters").jobs.get().pk == made.json()["job"]
    assert api.post("/api/v1/demos/letters/").status_code == 400


def test_the_general_settings_keep_what_is_left_out(project, alice, ann, bob, api_for):
    changed = api_for(alice).patch(AT, {"description": "Letters."}, format="json")
    assert changed.json() | {"created_at": ""} == {
        "slug": "letters-test",
        "name": "Thank-you letters",
        "criterion": "The kinder and more correct letter.",
        "description": "Letters.",
        "created_at": "",
    }
    assert api_for(alice).patch(AT, {"name": " "}, format="json").status_code == 400
    assert api_for(bob).patch(AT, {"name": "Mine"}, format="json").status_code == 404
    assert api_for(ann).get(AT).json()["name"] == "Thank-you letters"
    assert AuditEvent.objects.filter(verb="project.update").count() == 1


def test_the_label_policy_is_in_the_words_of_its_form(project, alice, ann, api_for):
    at, api = f"{AT}label-policy/", api_for(alice)
    before = {"votes_per_comparison": 1, "annotators_may_override": True, "random_share": 0, "judge_bound": None}
    before |= {"annotators_may_edit": False}
    assert api_for(ann).get(at).json() == before
    changed = api.patch(at, {"votes_per_comparison": 3, "judge_bound": 70}, format="json")
    assert changed.json() == before | {"votes_per_comparison": 3, "judge_bound": 70.0}
    project.refresh_from_db()
    assert (project.votes_per_comparison, project.judge_bound) == (3, 0.7)
    assert api.patch(at, {"random_share": 25}, format="json").json()["judge_bound"] == 70.0
    refused = api.patch(at, {"votes_per_comparison": 0}, format="json")
    assert (refused.status_code, refused.json()["detail"]) == (
        400,
        "votes_per_comparison: Ensure this value is greater than or equal to 1.",
    )
    assert api.patch(at, {"votes_per_comparison": "three"}, format="json").status_code == 400
    assert api_for(ann).patch(at, {"random_share": 5}, format="json").status_code == 404
    project.refresh_from_db()
    assert (project.votes_per_comparison, project.random_share) == (3, 25)


@pytest.mark.slow
def test_a_guideline_is_a_new_version_and_keeps_the_task(project, bob, ann, api_for):
    at, api = f"{AT}guidelines/", api_for(bob)
    first = api.post(at, {"text": "Be kind.", "task": "ranking", "set_size": 4}, format="json")
    assert (first.status_code, first.json()["version"], first.json()["task"]) == (201, 1, "ranking")
    second = api.post(at, {"text": "Be kind and short."}, format="json").json()
    assert (second["version"], second["task"], second["set_size"]) == (2, "ranking", 4)
    assert api.post(at, {"asks_strength": False}, format="json").status_code == 200  # says what is said already
    assert [row["version"] for row in api_for(ann).get(at).json()] == [2, 1]
    for wrong in ({"text": ""}, {"task": "essay"}, {"set_size": 1}, {"text": "x" * 50_001}):
        assert api.post(at, wrong, format="json").status_code == 400
    assert api_for(ann).post(at, {"text": "mine"}, format="json").status_code == 404
    assert Guideline.objects.count() == 2
