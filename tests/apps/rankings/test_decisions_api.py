"""Correcting a judge and taking back an answer by the API: as in Review and at the desk."""

from __future__ import annotations

import pytest

from apps.labels.models import Override, Vote
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"


@pytest.fixture
def pair(project, make_comparison, make_judge, make_verdict):
    made = make_comparison(project)
    critic = make_judge(project, "critic")
    for order in ("01", "10"):
        make_verdict(made, "first", judge=critic, order=order)
    return made


@pytest.mark.slow
def test_a_judge_is_corrected_agreed_with_and_the_decision_withdrawn(pair, bob, api_for):
    at, api = f"{AT}comparisons/{pair.pk}/decision/", api_for(bob)
    said = api.put(at, {"judge": "critic", "choice": "second", "reason": "It is rude."}, format="json").json()
    assert (said["kind"], said["choice"], said["reason"]) == ("override", "second", "It is rude.")
    assert Exposure.objects.filter(user=bob, comparison=pair).exists()
    pair.refresh_from_db()
    assert pair.preferences.get().outcome == "second"
    agreed = api.put(at, {"judge": "critic"}, format="json").json()
    assert (agreed["kind"], agreed["choice"]) == ("agree", "first")
    assert api.delete(at).status_code == 204
    assert api.delete(at).status_code == 409
    assert list(Override.objects.order_by("id").values_list("kind", flat=True)) == ["override", "agree", "withdrawn"]


@pytest.mark.slow
def test_what_is_worth_a_review_is_listed_without_its_label_and_read(project, pair, bob, ann, api_for):
    at, api = f"{AT}comparisons/{pair.pk}/decision/", api_for(bob, "read")
    listed = api.get(f"{AT}reviews/").json()
    assert (listed["judge"], listed["n"]) == ("critic", 1)
    (row,) = listed["pairs"]
    assert (row["comparison"], row["decision"], "first" in str(row)) == (pair.pk, "", False)
    assert not Exposure.objects.exists()
    told = api.get(at).json()
    assert (told["said"], told["judge"], told["decision"]) == ("first", "critic", "")
    assert (told["first"], told["second"]) == (pair.first.text, pair.second.text)
    assert Exposure.objects.filter(user=bob, comparison=pair).exists()
    api_for(bob).put(at, {"judge": "critic", "choice": "second"}, format="json")
    assert api.get(f"{AT}reviews/").json()["pairs"] == []
    (done,) = api.get(f"{AT}reviews/?decided=true").json()["pairs"]
    assert done["decision"] == "override"
    (unseen,) = api_for(ann).get(f"{AT}reviews/?decided=true").json()["pairs"]
    assert unseen["decision"] == "decided"
    assert (api.get(at).json()["choice"], api.get(at).json()["decided_by"]) == ("second", "bob")
    type(project).objects.update(annotators_may_override=False)
    for route in (f"{AT}reviews/", at):
        assert api_for(ann).get(route).status_code == 404


@pytest.mark.slow
def test_a_project_without_judges_has_nothing_to_review(project, make_comparison, bob, api_for):
    assert api_for(bob).get(f"{AT}reviews/").json() == {"judge": None, "n": 0, "pairs": []}
    pair = make_comparison(project)
    assert api_for(bob).get(f"{AT}comparisons/{pair.pk}/decision/").status_code == 404


def test_a_wrong_decision_is_refused(pair, bob, api_for):
    at, api = f"{AT}comparisons/{pair.pk}/decision/", api_for(bob)
    for wrong in ({"judge": "critic", "choice": "left"}, {"judge": "nobody"}, {"choice": "tie"}):
        assert api.put(at, wrong, format="json").status_code == 400, wrong
    assert not Override.objects.exists()
    assert [api.get(f"{at}?judge={name}").status_code for name in ("%00", "nobody")] == [400, 404]
    assert not Exposure.objects.exists()


@pytest.mark.slow
def test_annotators_correct_only_where_the_project_lets_them(project, pair, ann, charlie, api_for):
    at = f"{AT}comparisons/{pair.pk}/decision/"
    sent = {"judge": "critic", "choice": "tie"}
    assert api_for(ann).put(at, sent, format="json").status_code == 200
    assert api_for(charlie).put(at, sent, format="json").status_code == 404
    type(project).objects.update(annotators_may_override=False)
    assert api_for(ann).put(at, sent, format="json").status_code == 404


@pytest.mark.slow
def test_ones_own_answer_is_taken_back_and_the_pair_leased_again(project, make_comparison, ann, bob, api_for):
    make_comparison(project)
    api = api_for(ann, "annotate")
    first = api.post(f"{AT}next/").json()
    api.post("/api/v1/votes/", {"assignment": first["assignment"], "choice": "left"}, format="json")
    at = f"/api/v1/votes/of/{first['assignment']}/"
    assert api_for(bob, "annotate").delete(at).status_code == 404
    back = api.delete(at)
    assert back.status_code == 200
    same = ("assignment", "comparison", "left", "right")
    assert {name: back.json()[name] for name in same} == {name: first[name] for name in same}
    assert Vote.objects.order_by("-id").first().choice == "withdrawn"
    assert api.delete(at).status_code == 200  # again: the same
    again = api.post("/api/v1/votes/", {"assignment": first["assignment"], "choice": "right"}, format="json")
    assert again.status_code == 201
