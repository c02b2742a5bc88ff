"""An edited answer is a new one beside the old, better than it by a label that others' votes outrank."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from django.db.models import Q

from apps.exchange.exports import export_lines
from apps.labels.exclusions import exclusion_create
from apps.labels.models import Preference, Vote
from apps.labels.services import preferences_derive
from apps.prompts.models import ImportBatch
from apps.rankings import services
from apps.rankings.models import Assignment
from apps.samples.models import Comparison, Completion, Exposure
from apps.samples.pairs import comparisons_from_answers
from apps.samples.selectors import edited_answers

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
TEXTS = ("Dear Maria, thank you.", "Hey.")


@pytest.fixture
def pair(project, make_comparison):
    project.annotators_may_edit = True
    project.save()
    return make_comparison(project, TEXTS)


def edit(pair, user, text="Dear Maria, thank you very much.", **more):
    return services.answer_edit(comparison=pair, answer=pair.first, text=text, editor=user, now=T0, **more)


def test_the_old_answer_stays_and_the_new_one_is_better(pair, bob):
    made = edit(pair, bob)
    assert made.created
    assert made.comparison is not None
    pair.first.refresh_from_db()
    assert pair.first.text == TEXTS[0]
    assert (made.answer.parent, made.answer.editor, made.answer.run) == (pair.first, "bob", None)
    assert (made.comparison.origin, made.comparison.first, made.comparison.second) == ("edit", pair.first, made.answer)
    label = Preference.objects.get(comparison=made.comparison)
    assert (label.outcome, label.p_first, label.source) == ("second", 0.0, "edit")
    assert not Assignment.objects.filter(comparison=made.comparison).exists(), "nobody is asked about it"
    assert Exposure.objects.filter(user=bob, comparison=made.comparison).exists()


def test_the_same_text_again_is_the_same_answer(pair, bob, ann):
    first, again, other = edit(pair, bob), edit(pair, bob), edit(pair, ann)
    assert (again.answer, again.comparison, again.created) == (first.answer, first.comparison, False)
    assert other.answer != first.answer
    assert Vote.objects.count() == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "is empty"), (" \n", "is empty"), (TEXTS[0], "the same"), ("a\x00b", "null"), ("x" * 200_001, "at most")],
)
def test_what_is_no_edit_is_refused_and_nothing_is_kept(pair, bob, text, why):
    with pytest.raises(services.BadEdit, match=why):
        edit(pair, bob, text)
    assert (Completion.objects.count(), Comparison.objects.count()) == (2, 1)


def test_only_the_answer_may_be_kept(pair, bob):
    made = edit(pair, bob, is_better=False)
    assert (made.comparison, Comparison.objects.count(), Vote.objects.count()) == (None, 1, 0)


def test_an_excluded_editor_says_nothing_and_a_decision_outranks_an_edit(project, pair, bob, erin):
    made = edit(pair, bob)

    def source():
        row = Preference.objects.filter(comparison=made.comparison).first()
        return None if row is None else (row.outcome, row.source)

    assert source() == ("second", "edit")
    exclusion = exclusion_create(project=project, rater="bob", since=None, reason="", by=erin, now=T0)
    assert source() is None
    exclusion.lifted_at = T0
    exclusion.save()
    decided = services.adjudication_create(comparison=made.comparison, user=bob, choice="second", now=T0)
    assert (decided.by_edit, source()) == (False, ("second", "adjudication")), "a decision of its own"
    services.adjudication_withdraw(comparison=made.comparison, user=bob, now=T0 + timedelta(minutes=1))
    assert source() is None


def test_blind_votes_outrank_an_edit(pair, bob, make_vote):
    made = edit(pair, bob)
    make_vote(made.comparison, "first")
    preferences_derive(project=pair.project, comparison_ids=[made.comparison.pk], now=T0)
    label = Preference.objects.get(comparison=made.comparison)
    assert (label.outcome, label.source) == ("first", "human")


def test_an_edit_of_a_held_out_answer_is_held_out(project, bob, make_comparison):
    gold = make_comparison(project, TEXTS, gold="first", held_out=True)
    assert edit(gold, bob).comparison.held_out
    assert not edit(make_comparison(project, TEXTS), bob).comparison.held_out


def test_nobody_is_asked_about_an_edited_answer_beside_others(project, pair, bob, make_completion):
    """Its editor would know which answer is theirs."""
    edit(pair, bob, is_better=False)
    assert comparisons_from_answers(project=project, per_prompt=10).n_new == 0
    make_completion(pair.prompt, "Hello Maria.", index=9)
    assert services.sets_make(project=project, size=5, prompt_ids=[pair.prompt_id]) == 1
    edited = Completion.objects.get(parent=pair.first)
    assert not Comparison.objects.filter(Q(first=edited) | Q(second=edited)).exists()
    assert Comparison.objects.count() == 3


def test_edits_of_an_unfinished_import_are_not_listed(project, pair, bob):
    made = edit(pair, bob).answer
    assert len(edited_answers(project)) == 1
    made.batch = ImportBatch.objects.create(project=project, name="f.jsonl", ready=False)
    made.save()
    assert edited_answers(project) == []


def test_edits_of_a_pair_are_held_out_as_long_as_it_is_gold(pair, bob):
    made = edit(pair, bob).comparison
    again = services.answer_edit(comparison=made, answer=made.second, text="Dear Maria!", editor=bob, now=T0).comparison

    def held_out():
        return list(Comparison.objects.order_by("pk").values_list("held_out", flat=True))

    assert (again.first, held_out()) == (made.second, [False] * 3)
    services.gold_mark(comparison=pair, outcome="first", by=bob)
    assert held_out() == [True] * 3
    services.gold_unmark(comparison=pair, by=bob)
    assert held_out() == [False] * 3
    services.gold_mark(comparison=made, outcome="second", by=bob)
    assert held_out() == [False, True, True]


def test_an_annotator_edits_by_the_side_of_their_screen_after_their_vote(client, project, pair, ann):
    client.force_login(ann)
    held = services.assignment_next(project=project, user=ann, now=T0, rng=Random(1))
    side = "left" if held.order == "01" else "right"
    url = f"/p/{project.slug}/comparisons/{pair.pk}/edit/"
    assert client.get(f"{url}{side}/").status_code == 404, "not before the vote"
    services.vote_create(assignment=held, choice=side, now=T0)
    assert TEXTS[0] in client.get(f"{url}{side}/").content.decode()
    assert client.get(f"{url}middle/").status_code == 404
    assert "edit/" in client.get(f"/p/{project.slug}/annotate/history/").content.decode()
    sent = {"text": "Dear Maria,\r\nthank you so much.", "is_better": "on"}
    assert client.post(f"{url}{side}/", sent).status_code == 302
    made = Completion.objects.get(parent=pair.first)
    assert (made.text, made.editor) == ("Dear Maria,\nthank you so much.", "ann")
    assert "says the same as before" in client.post(f"{url}{side}/", {"text": TEXTS[0]}).content.decode()
    assert Completion.objects.count() == 3
    project.annotators_may_edit = False
    project.save()
    assert client.get(f"{url}{side}/").status_code == 404
    assert "edit/" not in client.get(f"/p/{project.slug}/annotate/history/").content.decode()


def test_a_lead_edits_by_the_place_in_the_pair(client, project, pair, bob, ann):
    url = f"/p/{project.slug}/comparisons/{pair.pk}/edit/second/"
    client.force_login(bob)
    assert client.post(url, {"text": "Hey you."}).status_code == 302
    assert Completion.objects.get(parent=pair.second).text == "Hey you."
    assert Comparison.objects.count() == 1, "the box was not ticked"
    history = client.get(f"/p/{project.slug}/comparisons/{pair.pk}/").content.decode()
    assert f"/comparisons/{pair.pk}/edit/first/" in history
    prompt = client.get(f"/p/{project.slug}/prompts/{pair.prompt_id}/").content.decode()
    assert "edited by bob" in prompt


@pytest.mark.slow
def test_programs_do_it_too(project, pair, ann, bob, api_for):
    url = f"/api/v1/projects/{project.slug}/comparisons/{pair.pk}/edits/"
    at = f"{url}first/"
    lead, body = api_for(bob), {"text": "Dear Maria, thank you a lot. "}
    made = lead.post(at, body, format="json")
    assert made.status_code == 201
    assert lead.post(at, body, format="json").status_code == 200
    assert Completion.objects.get(pk=made.json()["answer"]).text.endswith(" "), "as it was sent"
    assert lead.post(at, body | {"text": TEXTS[0]}, format="json").status_code == 400
    assert lead.post(at, body | {"text": "x", "criterion": "kind"}, format="json").status_code == 400
    assert api_for(ann).post(f"{url}left/", body, format="json").status_code == 404, "no vote yet"
    (listed,) = lead.get(f"/api/v1/projects/{project.slug}/edits/").json()
    assert (listed["of"], listed["editor"], listed["before"]) == (pair.first_id, "bob", TEXTS[0])
    assert listed["comparisons"] == [made.json()["comparison"]]
    history = lead.get(f"/api/v1/projects/{project.slug}/comparisons/{made.json()['comparison']}/history/").json()
    assert [event["kind"] for event in history if event["kind"] != "seen"] == ["edit"]


def test_it_is_a_training_pair_and_leaves_with_the_records(project, pair, bob, make_project):
    edit(pair, bob)
    (line,) = export_lines(project=project, format="trl")
    assert b"very much" in line
    (record,) = export_lines(project=project, format="records")
    assert b'"parent":0,"editor":"bob"' in record
    assert b'"edit":true' in record
