"""What Annotate gives first: what judges disagree on, but for the random share, whose votes are marked."""

from __future__ import annotations

import json
import random
import threading
from datetime import UTC, datetime
from importlib import import_module

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.labels.models import Vote
from apps.labels.review_counts import review_differences
from apps.labels.services import NewVerdict, verdicts_add
from apps.projects.services import ProjectRefused, label_policy_set
from apps.rankings import services
from apps.rankings.models import CHANCE, Assignment, Place
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong
from prefloop.types import LabelledVerdict

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def judged(project, make_comparison, make_judge, make_verdict):
    """judged(p, q=None): a pair that one judge gave p in the stored order and q in the other, another judge 0.9."""
    main, other = (
        make_judge(project, "main", order_policy="average"),
        make_judge(project, "other", order_policy="random"),
    )

    def make(p, q=None, **fields):
        comparison = make_comparison(project, **fields)
        for order, value in (("01", p), ("10", p if q is None else q)):
            make_verdict(comparison, "first" if value > 0.5 else "second", judge=main, order=order, p_first=value)
        make_verdict(comparison, "first", judge=other, p_first=0.9)
        return comparison

    return make


def given(project, user, seed=0):
    """Vote until nothing is left; the comparisons in the order in which they came."""
    rng, order = random.Random(seed), []
    while (seat := services.assignment_next(project=project, user=user, now=T0, rng=rng)) is not None:
        order.append(seat.comparison_id)
        services.vote_create(assignment=seat, choice="left", now=T0)
    return order


@pytest.mark.slow
def test_what_judges_disagree_on_comes_first_and_what_they_are_sure_of_last(
    project, ann, judged, make_comparison, make_judge, make_verdict
):
    sure = judged(0.95)
    unjudged = make_comparison(project)
    close = judged(0.6)
    judges = judged(0.1)
    orders = judged(0.9, 0.3)
    measures = make_comparison(project, origin="evaluation:1:1", held_out=True)
    assert given(project, ann) == [measures.pk, judges.pk, orders.pk, close.pk, unjudged.pk, sure.pk]
    marks = dict(Vote.objects.values_list("comparison_id", "by_chance"))
    assert marks == {measures.pk: None, unjudged.pk: None} | dict.fromkeys(
        (row.pk for row in (sure, close, judges, orders)), False
    )


@pytest.mark.slow
def test_a_verdict_moves_what_is_free_and_nobody_misses_it(project, ann, bob, make_comparison, make_judge):
    """Also whoever is past it in the order of ids; the counts stay, and who holds a pair keeps it."""
    rows = [make_comparison(project) for _ in range(6)]
    judge = make_judge(project, "j")
    rng = random.Random(0)
    held = services.assignment_next(project=project, user=ann, now=T0, rng=rng)
    assert held.comparison_id == rows[0].pk
    for order, outcome in (("01", "first"), ("10", "second")):
        said = LabelledVerdict(state="ok", outcome=outcome)
        verdicts_add(judge=judge, run=None, verdicts=[NewVerdict(row.pk, order, said) for row in (rows[0], rows[4])])
    assert services.assignment_next(project=project, user=ann, now=T0, rng=rng) == held
    services.vote_create(assignment=held, choice="left", now=T0)
    assert given(project, bob)[:2] == [rows[4].pk, rows[1].pk]
    assert differences(project) == {}
    assert Place.objects.get(project=project, user=None).n_open == 0
    call_command("check_queue")


@pytest.mark.slow
def test_the_random_share_is_drawn_without_a_look_at_the_verdicts_and_marked(project, ann, judged, at_once):
    project.random_share = 30
    project.save()
    with at_once(project):
        rows = [judged(0.1 if k % 2 else 0.95) for k in range(120)]
    by_chance = set(Assignment.objects.filter(priority=CHANCE).values_list("comparison_id", flat=True))
    disputed = {row.pk for row in rows[1::2]}
    assert 20 <= len(by_chance) <= 55
    assert 0.25 < len(by_chance & disputed) / len(by_chance) < 0.75, "as often as there are such"
    order = given(project, ann)
    assert len(order) == 120
    first = order[:40]
    assert 4 <= len(by_chance & set(first)) <= 22, "about three of ten"
    assert {key for key in first if key not in by_chance} <= disputed
    assert dict(Vote.objects.values_list("comparison_id", "by_chance")) == {row.pk: row.pk in by_chance for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 100])
def test_none_or_all_by_chance(project, ann, judged, share):
    project.random_share = share
    project.save()
    rows = [judged(0.95), judged(0.1)]
    assert given(project, ann) == [row.pk for row in (rows if share else rows[::-1])]
    assert set(Vote.objects.values_list("by_chance", flat=True)) == {share == 100}


@pytest.mark.slow
def test_another_share_is_drawn_for_what_is_free(project, alice, judged, at_once):
    with at_once(project):
        for _ in range(40):
            judged(0.95)
    assert not Assignment.objects.filter(priority=CHANCE).exists()
    rules = {"votes_per_comparison": 1, "annotators_may_override": True}
    label_policy_set(project=project, actor=alice, random_share=50, **rules)
    assert 8 <= Assignment.objects.filter(priority=CHANCE).count() <= 32
    assert (n_seats_wrong(project), differences(project)) == (0, {})
    label_policy_set(project=project, actor=alice, **rules)
    assert project.random_share == 50, "as it was"
    with pytest.raises(ProjectRefused):
        label_policy_set(project=project, actor=alice, random_share=101, **rules)


@pytest.mark.slow
def test_check_queue_finds_seats_out_of_turn(project, judged, capsys):
    judged(0.1)
    Assignment.objects.update(priority=CHANCE)
    with pytest.raises(Exception, match="wrong"):
        call_command("check_queue")
    assert "1 free seats are missing, too many, or out of their turn" in capsys.readouterr().out
    call_command("check_queue", repair=True)
    call_command("check_queue")
    assert "every number is right" in capsys.readouterr().out


def test_an_earlier_database_s_seats_go_to_their_lanes(project, judged):
    rows = [judged(0.95), judged(0.1)]
    Assignment.objects.update(priority=1)
    for _ in range(2):  # again changes nothing
        import_module("apps.rankings.migrations.0013_lanes").enqueue(apps, None)
    assert Job.objects.filter(kind="rankings.seats").count() == 1
    drain(["cpu"], worker_name="w")
    assert n_seats_wrong(project) == 0
    assert [seat.comparison_id for seat in Assignment.objects.order_by("priority")] == [rows[1].pk, rows[0].pk]


@pytest.mark.slow
def test_nobody_who_votes_is_told_why_a_pair_came(project, ann, judged, client_for, api_for):
    project.random_share = 50
    project.save()
    for _ in range(8):
        judged(0.1)
    api = api_for(ann)
    told = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    voted = api.post(
        "/api/v1/votes/", {"assignment": told["assignment"], "choice": "left", "next": True}, format="json"
    )
    page = client_for(ann).get(f"/p/{project.slug}/annotate/").content.decode()
    for text in (json.dumps(told), json.dumps(voted.json()), page):
        assert not {"chance", "priority", "disputed", "lane"} & set(text.replace('"', " ").replace("_", " ").split())


@pytest.mark.slow
def test_a_report_leaves_out_pairs_that_were_chosen_and_says_so(
    project, bob, client_for, api_for, make_comparison, make_judge, make_verdict, make_vote, capsys
):
    """The judge is right on three of four pairs; where people were sent because it is doubtful, on none."""
    judge = make_judge(project, "main", order_policy="random")
    for k, by_chance in enumerate([True, True, None, True, False, False, False, False]):
        comparison = make_comparison(project)
        make_verdict(comparison, "first" if k < 3 else "second", judge=judge)
        make_vote(comparison, "first", rater="r", by_chance=by_chance)
    at = f"/api/v1/projects/{project.slug}/reports/agreement/"
    for votes, right in (("", 3 / 8), ("?votes=all", 3 / 8), ("?votes=random", 3 / 4)):
        (said,) = api_for(bob).get(at + votes).json()["judges"]
        assert said["accuracy"] == right
    assert api_for(bob).get(f"{at}?votes=some").status_code == 400
    for votes, right in (("all", 3 / 8), ("random", 3 / 4)):
        capsys.readouterr()
        call_command("report_agreement", project=project.slug, votes=votes, json=True)
        (said,) = json.loads(capsys.readouterr().out)["judges"]
        assert said["accuracy"] == right
        download = client_for(bob).get(f"/p/{project.slug}/reports/agreement.json?votes={votes}")
        whole = json.loads(download.content)
        assert (whole["votes"], whole["judges"][0]["accuracy"]) == (votes, right)
    path = f"/p/{project.slug}/reports/agreement/"
    page = client_for(bob).get(path).content.decode()
    assert "With 4 votes on pairs that were chosen by what judges said of them" in page
    assert f'href="{path}?votes=random"' in page
    page = client_for(bob).get(f"{path}?votes=random").content.decode()
    assert "Without 4 votes on pairs that were chosen by what judges said of them" in page
    assert f'href="{path}"' in page
    Vote.objects.update(by_chance=True)
    make_vote(make_comparison(project), "first", rater="r")  # a new label: another version of the report
    assert "chosen by what judges" not in client_for(bob).get(path).content.decode()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_people_vote_while_verdicts_move_the_seats(project, make_comparison, make_judge, member):
    """Nobody waits in a circle, and every pair is voted on once by somebody."""
    people = [member(f"p{k}", "annotator") for k in range(4)]
    judges = [make_judge(project, f"j{k}", order_policy="random") for k in range(2)]
    ids = [make_comparison(project).pk for _ in range(60)]
    barrier, errors = threading.Barrier(len(people) + len(judges)), []

    def working(work, *args):
        try:
            barrier.wait(timeout=30)
            work(*args)
        except Exception as error:  # noqa: BLE001 (asserted below)
            errors.append(error)
        finally:
            connection.close()

    def annotate(user, seed):
        rng = random.Random(seed)
        seat = services.assignment_next(project=project, user=user, now=T0, rng=rng)
        while seat is not None:
            _, taken = services.vote_and_next(assignment=seat, choice="left", now=T0, rng=rng)
            seat = None if taken is None else taken.assignment

    def judge_all(judge, seed):
        rng = random.Random(seed)
        for _ in range(20):
            outcomes = [(key, rng.choice(["first", "second"])) for key in rng.sample(ids, 5)]
            said = [
                NewVerdict(key, "01", LabelledVerdict(state="ok", outcome=outcome), rng.randrange(9))
                for key, outcome in outcomes
            ]
            verdicts_add(judge=judge, run=None, verdicts=said)

    threads = [threading.Thread(target=working, args=(annotate, user, k)) for k, user in enumerate(people)]
    threads += [threading.Thread(target=working, args=(judge_all, judge, k)) for k, judge in enumerate(judges)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []
    assert sorted(Vote.objects.values_list("comparison_id", flat=True)) == ids
    assert (differences(project), n_seats_wrong(project), review_differences(project)) == ({}, 0, {})
