"""Pairs that are asked by named criteria: a seat and a vote for each, the same sides, and right counts."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from apps.labels.models import Preference, Vote
from apps.labels.selectors import preferences
from apps.projects.models import Project
from apps.projects.services import ProjectRefused, guideline_add, label_policy_set
from apps.rankings import selectors, services
from apps.rankings.models import GOLD, Assignment, Place
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import _side_by_side, n_seats_wrong
from apps.samples import exposure
from prefloop.criteria import PRESETS, Criterion

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HHH = PRESETS["helpful, honest, harmless"]
NAMES = ["helpful", "honest", "harmless"]
JSON = {"HTTP_ACCEPT": "application/json"}


def lease(project, user, n=1, now=T0, seed=0):
    return services.assignments_lease(project=project, user=user, n=n, now=now, rng=random.Random(seed))


def vote(seat, choice="left", now=T0):
    seat.refresh_from_db()
    return services.vote_create(assignment=seat, choice=choice, now=now).vote


def ask_by(project, criteria=HHH, **said):
    return guideline_add(project=project, text="Read both.", actor=None, criteria=criteria, **said)


def sound(project):
    return (differences(project), n_seats_wrong(project)) == ({}, 0)


@pytest.fixture
def asked(project, make_comparison):
    for _ in range(3):
        make_comparison(project)
    ask_by(project)
    return project


@pytest.mark.slow
def test_a_pair_is_asked_by_each_criterion_in_turn_with_the_same_sides(asked, ann):
    for n in (1, 21):
        seats = lease(asked, ann, n, seed=n)
        assert [seat.criterion for seat in seats] == (NAMES * 3)[:n]
    assert [seat.comparison_id for seat in seats] == sorted(seat.comparison_id for seat in seats)
    assert len({(seat.comparison_id, seat.order) for seat in seats}) == 3
    assert [item.question for item in selectors.items_of(seats[:3])] == [one.question for one in HHH]
    assert sound(asked)


def test_each_answer_is_a_vote_by_its_criterion_and_its_label(asked, ann):
    seats = lease(asked, ann, 3)
    for seat, choice in zip(seats, ("left", "right", "tie"), strict=True):
        vote(seat, choice)
        assert sound(asked)
    votes = list(Vote.objects.order_by("pk"))
    assert [one.criterion for one in votes] == NAMES
    assert {votes[0].choice, votes[1].choice} == {"first", "second"}
    assert not Preference.objects.filter(criterion="").exists()
    assert {row.criterion: row.outcome for row in preferences(None)} == {one.criterion: one.choice for one in votes}
    place = Place.objects.get(project=asked, user=ann)
    assert (place.n_done, place.n_labels) == (3, 3)
    progress = selectors.progress(project=asked, user=ann, now=T0)
    assert (progress.done, progress.total) == (3, 9)


@pytest.mark.slow
def test_pairs_one_by_one_are_asked_as_many_at_once_are(asked, ann):
    seat, met = lease(asked, ann)[0], []
    while seat is not None:
        met.append((seat.comparison_id, seat.criterion, seat.order))
        held = Assignment.objects.get(pk=seat.pk)
        _, taken = services.vote_and_next(assignment=held, choice="left", now=T0, rng=random.Random(len(met)))
        seat = None if taken is None else taken.assignment
        assert sound(asked)
    assert [name for _, name, _ in met] == NAMES * 3
    assert len({(pair, order) for pair, _, order in met}) == 3


@pytest.mark.slow
def test_two_people_share_the_criteria_of_a_pair_and_nobody_answers_one_twice(asked, ann, bob):
    label_policy_set(project=asked, actor=None, votes_per_comparison=2, annotators_may_override=True)
    for user in (ann, bob):
        while seats := lease(asked, user, 4):
            for seat in seats:
                vote(seat)
            assert sound(asked)
    said = list(Vote.objects.values_list("comparison_id", "criterion", "rater"))
    assert len(said) == len(set(said)) == 3 * 3 * 2
    assert not Assignment.objects.filter(state="free").exists()


@pytest.mark.slow
def test_skip_and_undo_are_about_one_criterion(asked, ann):
    first, second, third = lease(asked, ann, 3)
    vote(first)
    vote(second, "skip")
    assert sound(asked)
    free = Assignment.objects.filter(state="free", comparison=second.comparison_id)
    assert [seat.criterion for seat in free] == ["honest"], "the skipped one is for others"
    back = services.vote_undo(project=asked, user=ann, now=T0)
    assert (back.pk, back.criterion) == (second.pk, "honest")
    assert not preferences("honest").exists()
    assert preferences("helpful").count() == 1
    assert vote(back, "left").supersedes.choice == "withdrawn"
    assert vote(third).criterion == "harmless"
    assert sound(asked)


@pytest.mark.slow
def test_a_label_by_one_criterion_tells_of_the_others(asked, ann):
    held = lease(asked, ann, 2)
    vote(held[0])
    exposure.shown(user_id=ann.pk, comparison_ids=[held[0].comparison_id], where="test")
    assert sound(asked)
    with pytest.raises(services.LeaseLost):
        vote(held[1])
    assert {seat.comparison_id for seat in lease(asked, ann, 21)}.isdisjoint({held[0].comparison_id})
    assert sound(asked)


@pytest.mark.slow
def test_a_lease_that_ran_out_is_let_to_others_and_a_late_answer_kept(asked, ann, bob):
    late = lease(asked, ann, 9)[4]
    soon = T0 + timedelta(hours=1)
    assert len(lease(asked, bob, 21, now=soon)) == 9
    assert vote(late, now=soon).criterion == late.criterion
    assert sound(asked)


@pytest.mark.slow
def test_other_criteria_ask_for_other_seats_and_what_was_said_stays(asked, ann):
    vote(lease(asked, ann)[0])
    ask_by(asked, (HHH[1], Criterion("short", "Which is shorter?")))
    asked.refresh_from_db()
    assert (asked.criteria, set(asked.known_criteria)) == (["honest", "short"], {*NAMES, "short"})
    assert sound(asked)
    free = Assignment.objects.filter(state="free")
    assert sorted(set(free.values_list("criterion", flat=True))) == ["honest", "short"]
    ask_by(asked, ())
    assert sorted(set(Assignment.objects.filter(state="free").values_list("criterion", flat=True))) == [""]
    assert sound(asked)
    assert [row.criterion for row in preferences(None)] == ["helpful"]


@pytest.mark.slow
def test_a_version_saved_from_an_older_page_is_what_people_are_asked_by(asked):
    older = Project.objects.get(pk=asked.pk)
    Project.objects.filter(pk=asked.pk).update(criteria=[])
    older.refresh_from_db()
    guideline_add(project=asked, text="By two.", actor=None, criteria=HHH[:2])
    guideline_add(project=older, text="By none.", actor=None)
    assert Project.objects.get(pk=asked.pk).criteria == []
    assert not Assignment.objects.filter(project=asked, state="free").exclude(criterion="").exists()


def test_seats_keep_the_order_in_which_they_come():
    new = [(1, 9, "", "free", 2), (1, 4, "", "free", 2), (1, 9, "", "free", 2)]
    assert _side_by_side(new) == [new[0], new[2], new[1]]
    by_two = [(1, 9, name, "free", 2) for name in ("a", "a", "b", "b")]
    assert [row[2] for row in _side_by_side(by_two)] == ["a", "b", "a", "b"]


@pytest.mark.slow
def test_no_gold_is_mixed_in_while_people_are_asked_by_criteria(project, ann, alice, make_comparison, client_for):
    make_comparison(project, held_out=True, gold="first")
    make_comparison(project)
    services.gold_share_set(project=project, share=20, by=alice)
    assert Assignment.objects.filter(priority=GOLD).exists()
    ask_by(project)
    project.refresh_from_db()
    assert not Assignment.objects.filter(priority=GOLD).exists()
    assert Place.objects.get(project=project, user=None).n_gold == 0
    assert [seat.criterion for seat in lease(project, ann, 21)] == NAMES * 2, "gold pairs come like any others"
    assert sound(project)
    page = client_for(alice).get(f"/p/{project.slug}/review/gold/")
    assert "mixed in for judges alone" in page.content.decode()
    ask_by(project, ())
    assert "mixed in for judges alone" not in client_for(alice).get(f"/p/{project.slug}/review/gold/").content.decode()


@pytest.mark.slow
def test_the_guideline_says_them_and_a_version_that_can_t_be_asked_changes_nothing(project, alice, client_for):
    client = client_for(alice)
    at = f"/p/{project.slug}/settings/guidelines/"
    said = {"text": "Read both.", "task": "pair", "set_size": "4"}
    filled = client.post(at, said | {"preset": "helpful, honest, harmless"})
    assert "honest: Which answer is more honest" in filled.content.decode()
    assert not project.guidelines.exists()
    for wrong, why in (
        ("helpful", "write each criterion as name: question"),
        ("Help ful: Which?", "is no name of a criterion"),
        ("a: b?\na: c?", "stands there twice"),
        ("\n".join(f"c{n}: Which?" for n in range(7)), "at most 6 criteria"),
    ):
        page = client.post(at, said | {"criteria": wrong})
        assert page.status_code == 400
        assert why in page.content.decode()
    page = client.post(at, said | {"task": "ranking", "criteria": "helpful: Which?"})
    assert "Named criteria are asked of pairs" in page.content.decode()
    assert not project.guidelines.exists()
    assert (
        client.post(at, said | {"criteria": " helpful: Which helps?\n\nhonest: Which: is honest? "}).status_code == 302
    )
    assert [(one.name, one.question) for one in project.guidelines.get().asked] == [
        ("helpful", "Which helps?"),
        ("honest", "Which: is honest?"),
    ]
    with pytest.raises(ProjectRefused):
        ask_by(project, task="best_worst")


@pytest.mark.slow
def test_the_desk_and_programs_are_told_the_criterion_and_its_question(asked, ann, client_for, api_for):
    api = api_for(ann)
    told = api.post(f"/api/v1/projects/{asked.slug}/next/").json()
    assert (told["criterion"], told["question"]) == ("helpful", HHH[0].question)
    said = api.post("/api/v1/votes/", {"assignment": told["assignment"], "choice": "left", "next": True}, "json").json()
    assert said["criterion"] == "helpful"
    assert (said["next"]["criterion"], said["next"]["comparison"]) == ("honest", told["comparison"])
    page = client_for(ann).get(f"/p/{asked.slug}/annotate/").content.decode()
    assert 'data-criterion="honest"' in page
    assert HHH[1].question in page
    history = client_for(ann).get(f"/p/{asked.slug}/annotate/history/").content.decode()
    assert '<span class="chip">helpful</span>' in history


@pytest.mark.slow
def test_the_address_of_a_pair_gives_the_next_criterion_and_then_the_last_answer(asked, ann, client_for):
    client, pair = client_for(ann), asked.comparisons.order_by("pk").first()
    for name in NAMES:
        page = client.get(f"/p/{asked.slug}/annotate/{pair.pk}/").content.decode()
        assert f'data-criterion="{name}"' in page
        held = Assignment.objects.get(comparison=pair, criterion=name, state="open")
        body = {"assignment": held.pk, "choice": "tie"}
        assert client.post(f"/p/{asked.slug}/annotate/vote/", body, **JSON).status_code == 201
    page = client.get(f"/p/{asked.slug}/annotate/{pair.pk}/").content.decode()
    assert "You have answered this pair" in page
    assert '<span class="chip">harmless</span>' in page


@pytest.mark.slow
def test_a_lead_decides_where_people_split_by_one_criterion(asked, bob, ann, make_vote, client_for, api_for):
    pair = asked.comparisons.order_by("pk").first()
    for rater, choice in (("x", "first"), ("y", "second")):
        make_vote(pair, choice, rater=rater, criterion="honest")
        make_vote(pair, "first", rater=rater, criterion="helpful")
    (split,) = selectors.split_pairs(asked)
    assert (split.at, split.n_votes) == (f"{pair.pk}:honest", 2)
    client, at = client_for(bob), f"/p/{asked.slug}/review/split/"
    page = client.get(f"{at}?at={split.at}").content.decode()
    assert '<span class="chip">honest</span>' in page
    assert 'name="criterion" value="honest"' in page
    client.post(f"{at}{pair.pk}/", {"choice": "tie", "criterion": "honest"})
    assert preferences("honest").get().source == "adjudication"
    assert not preferences("helpful").filter(source="adjudication").exists()
    assert not selectors.split_pairs(asked)
    assert client.post(f"{at}{pair.pk}/", {"choice": "tie", "criterion": "funny"}).status_code == 302
    assert Vote.objects.filter(adjudication=True).count() == 1
    client.post(f"{at}undo/")
    assert not preferences("honest").exists()
    api = api_for(bob)
    where = f"/api/v1/projects/{asked.slug}/adjudications/"
    assert [one["criterion"] for one in api.get(where).json()] == ["honest"]
    told = api.get(f"/api/v1/projects/{asked.slug}/comparisons/{pair.pk}/history/").json()
    assert {one["criterion"] for one in told if one["kind"] == "vote"} == {"honest", "helpful"}
    shown = client.get(f"/p/{asked.slug}/comparisons/{pair.pk}/").content.decode()
    assert '<span class="chip">honest</span>' in shown
