"""Sets of answers that people rank: how they are made, asked, stored, taken back and exported."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import combinations
from random import Random

import pytest
from django.core.management import call_command

from apps.labels.models import Preference, Ranking, Vote
from apps.labels.selectors import standing_votes
from apps.projects.services import guideline_add
from apps.rankings import selectors, services
from apps.rankings.models import Assignment
from apps.samples.exposure import shown
from apps.samples.models import Comparison, Exposure

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
JSON = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def answers(project, make_prompt, make_completion):
    """Two prompts with five answers each, whose ids can be told from other numbers."""
    prompts = [make_prompt(project) for _ in range(2)]
    return [
        [
            make_completion(prompt, f"Answer {n} of {at}.", model_name=f"secret-{n}", id=971_000 + 10 * at + n)
            for n in range(5)
        ]
        for at, prompt in enumerate(prompts)
    ]


@pytest.fixture
def asking(project, answers):
    return guideline_add(project=project, text="Warmer is better.", actor=None, task="ranking", set_size=5)


def lease(project, user, now=T0):
    return services.assignment_next(project=project, user=user, now=now, rng=Random(1))


def rank(seat, ranks, now=T0, **said):
    return services.rank_create(assignment=seat, said=services.Answered(ranks=ranks, **said), now=now)


def queue_is_right(project) -> None:
    call_command("check_queue", project=project.slug, stdout=StringIO())


def test_a_guideline_that_asks_for_rankings_makes_the_sets_and_their_seats(project, answers, asking):
    assert Comparison.objects.count() == 2 * 10
    leads = Comparison.objects.filter(asked_with=None)
    assert leads.count() == 2
    assert {row.asked_here.count() for row in leads} == {9}
    assert set(Assignment.objects.values_list("comparison", flat=True)) == set(leads.values_list("pk", flat=True))
    assert services.sets_make(project=project, size=5) == 0, "repeating it changes nothing"
    queue_is_right(project)


@pytest.mark.parametrize(("n", "size", "sizes"), [(2, 4, []), (3, 4, [3]), (5, 4, [4]), (7, 4, [3, 4]), (8, 4, [4, 4])])
def test_sets_have_at_most_the_size_and_at_least_three(project, make_prompt, make_completion, n, size, sizes):
    prompt = make_prompt(project)
    made = [make_completion(prompt, f"Answer {k}.") for k in range(n)]
    make_completion(prompt, "Answer 0.")  # a text once
    guideline_add(project=project, text="Rank.", actor=None, task="ranking", set_size=size)
    leads = Comparison.objects.filter(asked_with=None, asked_here__isnull=False).distinct()
    found = []
    for lead in leads:
        rows = [lead, *lead.asked_here.all()]
        found.append(len({pk for row in rows for pk in (row.first_id, row.second_id)}))
    assert (sorted(found), len(made)) == (sizes, n)


@pytest.mark.slow
def test_a_ranking_is_a_vote_on_each_of_its_pairs_with_ties_and_the_order_shown(project, ann, answers, asking):
    seat = lease(project, ann)
    (item,) = selectors.items_of([seat])
    texts = {row.pk: row.text for row in seat.comparison.prompt.completions.all()}
    assert [one.text for one in item.answers] == [texts[pk] for pk in seat.shown]
    made = rank(seat, [2, 1, 2, 3, 5], seconds=30.0, key="k1", reason=" warm ")
    ranking = Ranking.objects.get()
    assert (made.created, ranking.shown, ranking.rater, ranking.reason) == (True, seat.shown, "ann", "warm")
    a, b, c, d, e = seat.shown
    assert ranking.groups == [[b], sorted([a, c]), [d], [e]]
    level = {b: 0, a: 1, c: 1, d: 2, e: 3}
    votes = {(v.comparison.first_id, v.comparison.second_id): v for v in Vote.objects.select_related("comparison")}
    assert set(votes) == set(combinations(sorted(level), 2))
    for (first, second), vote in votes.items():
        said = "tie" if level[first] == level[second] else "first" if level[first] < level[second] else "second"
        in_order = seat.shown.index(first) < seat.shown.index(second)
        assert (vote.choice, vote.order) == (said, "01" if in_order else "10")
        assert vote.comparison.preferences.get().source == "human"
    assert sorted((v.seconds, v.reason) for v in votes.values() if v.assignment_id) == [(30.0, "warm")]
    assert {v.seconds for v in votes.values() if not v.assignment_id} == {None}, "time is counted once"
    progress = selectors.progress(project=project, user=ann, now=T0)
    assert (progress.done, progress.total) == (1, 2), "a ranking is one answer"
    queue_is_right(project)


@pytest.mark.slow
def test_each_person_sees_an_order_of_their_own_and_keeps_it(project, answers, asking, member):
    project.votes_per_comparison = 12
    project.save()
    services.seats_settle(project=project)
    orders = set()
    for n in range(12):
        person = member(f"person{n}", "annotator")
        (seat, *_) = services.assignments_lease(project=project, user=person, n=2, now=T0, rng=Random(n))
        assert seat.shown == lease(project, person).shown, "asked again, it is the same"
        orders.add((seat.comparison_id, tuple(seat.shown)))
    assert len(orders) > 10


@pytest.mark.slow
def test_the_same_ranking_is_stored_once_whatever_is_sent_again(project, ann, answers, asking):
    seat = lease(project, ann)
    first = rank(seat, [1, 2, 3, 4, 5], key="k1")
    for key in ("k1", "", "k2"):
        again = rank(seat, [1, 2, 3, 4, 5], key=key)
        assert (again.created, again.ranking.pk) == (False, first.ranking.pk)
    for key in ("k1", "k3"):
        with pytest.raises(services.AlreadyAnswered):
            rank(seat, [2, 1, 3, 4, 5], key=key)
    services.vote_undo(project=project, user=ann, now=T0)
    assert rank(seat, [1, 2, 3, 4, 5], key="k1").created is False, "a copy that comes late does not undo the undo"
    assert (Ranking.objects.count(), standing_votes().count()) == (1, 0)
    assert rank(seat, [2, 1, 3, 4, 5], key="k4").created is True
    assert (Ranking.objects.count(), standing_votes().count()) == (2, 10)


@pytest.mark.slow
def test_undo_takes_back_every_vote_and_gives_the_set_back_in_the_same_order(project, ann, answers, asking):
    seat = lease(project, ann)
    rank(seat, [1, 1, 2, 2, 3])
    back = services.vote_undo(project=project, user=ann, now=T0)
    assert (back.pk, back.state, back.shown) == (seat.pk, "open", seat.shown)
    assert not standing_votes().exists()
    assert not Preference.objects.exists()
    assert Vote.objects.filter(choice="withdrawn").count() == 10
    assert selectors.progress(project=project, user=ann, now=T0).done == 0
    queue_is_right(project)


@pytest.mark.parametrize(
    ("ranks", "why"),
    [
        ([1, 2, 3, 4], "5 numbers from 1"),
        ([0, 1, 2, 3, 4], "5 numbers from 1"),
        ([1, 2, 3, 4, 6], "5 numbers from 1"),
        ([], "5 numbers from 1"),
    ],
)
def test_what_is_no_ranking_is_refused_and_nothing_is_stored(project, ann, answers, asking, ranks, why):
    seat = lease(project, ann)
    with pytest.raises(services.BadVote, match=why):
        rank(seat, ranks)
    seat.refresh_from_db()
    assert (seat.state, Vote.objects.count(), Ranking.objects.count()) == ("open", 0, 0)


@pytest.mark.slow
def test_the_best_and_the_worst_leave_the_others_tied(project, ann, answers):
    guideline_add(project=project, text="Rank.", actor=None, task="best_worst", set_size=5)
    seat = lease(project, ann)
    for ranks in ([1, 2, 3, 4, 5], [1, 1, 2, 2, 3], [1, 2, 2, 2, 2]):
        with pytest.raises(services.BadVote, match="one answer must be the best"):
            rank(seat, ranks)
    rank(seat, [2, 3, 2, 1, 2])
    said = Counter(Vote.objects.values_list("choice", flat=True))
    assert said["tie"] == 3
    assert said["first"] + said["second"] == 7
    best, worst = seat.shown[3], seat.shown[1]
    for vote in Vote.objects.exclude(choice="tie").select_related("comparison"):
        better = vote.comparison.first_id if vote.choice == "first" else vote.comparison.second_id
        worse = vote.comparison.second_id if vote.choice == "first" else vote.comparison.first_id
        assert better == best or worse == worst


@pytest.mark.slow
def test_skip_and_cant_judge_are_of_the_whole_set(project, ann, bob, answers, asking):
    seat = lease(project, ann)
    with pytest.raises(services.BadVote, match="rank them"):
        services.vote_create(assignment=seat, choice="left", now=T0)
    services.vote_create(assignment=seat, choice="skip", now=T0)
    other = lease(project, ann)
    services.vote_create(assignment=other, choice="cant_judge", now=T0)
    assert lease(project, ann) is None
    assert lease(project, bob).comparison_id == seat.comparison_id, (
        "the skipped set is for others, the other is answered"
    )
    queue_is_right(project)


@pytest.mark.slow
def test_who_saw_a_label_of_one_pair_ranks_the_set_no_more(project, ann, bob, answers, asking, make_verdict):
    seat = lease(project, ann)
    inner = Comparison.objects.filter(asked_with=seat.comparison_id).first()
    make_verdict(inner, "first")
    shown(user_id=ann.pk, comparison_ids=[inner.pk], where="test")
    assert Exposure.objects.filter(user=ann, comparison=seat.comparison_id).exists()
    with pytest.raises(services.LeaseLost, match="blind"):
        rank(seat, [1, 2, 3, 4, 5])
    assert not Vote.objects.exists()
    second = lease(project, ann)
    assert second.comparison_id != seat.comparison_id
    queue_is_right(project)


@pytest.mark.slow
def test_a_late_ranking_is_kept_beside_that_of_who_has_the_set(project, ann, bob, answers, asking):
    seat = lease(project, ann)
    late = T0 + timedelta(hours=2)
    assert len(services.assignments_lease(project=project, user=bob, n=2, now=late, rng=Random(1))) == 2
    assert rank(seat, [1, 2, 3, 4, 5], now=late).created
    queue_is_right(project)


@pytest.mark.slow
def test_a_direct_vote_on_a_pair_stands_over_the_ranking(project, ann, make_prompt, make_comparison, make_completion):
    prompt = make_prompt(project)
    pair = make_comparison(project, ("Dear A.", "Dear B."), prompt=prompt)
    make_completion(prompt, "Dear C.")
    direct = services.vote_create(assignment=lease(project, ann), choice="tie", now=T0).vote
    guideline_add(project=project, text="Rank.", actor=None, task="ranking")
    seat = lease(project, ann)
    assert seat.comparison_id != pair.pk, "another pair leads"
    rank(seat, [1, 2, 3])
    assert standing_votes().get(comparison=pair) == direct
    assert standing_votes().count() == 3


@pytest.mark.slow
def test_pairs_come_back_with_a_task_of_pairs_and_what_was_shown_is_accepted(
    project, ann, bob, answers, asking, make_comparison
):
    alone = make_comparison(project)
    held = lease(project, ann)
    (other,) = [lease(project, bob)]
    guideline_add(project=project, text="Warmer is better.", actor=None)
    assert rank(held, [1, 2, 3, 4, 5], guideline="v1").created, "its page still showed version 1"
    again = lease(project, bob)
    assert (again.pk, again.shown) == (other.pk, None), "the leading pair is a pair now"
    with pytest.raises(services.BadVote, match="pair of answers"):
        rank(again, [1, 2, 3, 4, 5])
    services.vote_create(assignment=again, choice="left", now=T0)
    assert lease(project, bob).comparison_id == alone.pk
    queue_is_right(project)


@pytest.mark.slow
def test_pairs_that_are_in_no_set_are_asked_as_pairs(project, ann, answers, make_comparison):
    alone = make_comparison(project)
    guideline_add(project=project, text="Rank.", actor=None, task="ranking", set_size=5)
    seats = services.assignments_lease(project=project, user=ann, n=3, now=T0, rng=Random(1))
    assert {seat.comparison_id: seat.shown is None for seat in seats}[alone.pk] is True
    assert sum(seat.shown is not None for seat in seats) == 2


@pytest.mark.slow
def test_a_program_ranks_and_is_told_nothing_of_the_authors(project, ann, answers, asking, api_for):
    api = api_for(ann)
    held = api.post(f"/api/v1/projects/{project.slug}/next/")
    assert "secret" not in held.content.decode()
    body = held.json()
    assert (body["task"], body["left"], len(body["answers"])) == ("ranking", None, 5)
    said = {"assignment": body["assignment"], "ranks": [1, 2, 3, 3, 5], "key": "mine", "next": True}
    reply = api.post("/api/v1/rankings/", said, format="json")
    assert (reply.status_code, reply.json()["next"]["task"]) == (201, "ranking")
    assert api.post("/api/v1/rankings/", said, format="json").status_code == 200
    assert (
        api.post("/api/v1/rankings/", said | {"key": "x", "ranks": [5, 2, 3, 3, 1]}, format="json").status_code == 409
    )
    assert api.post("/api/v1/rankings/", said | {"ranks": [1, 2, 3]}, format="json").status_code == 400


@pytest.mark.slow
def test_the_page_and_its_replies_tell_nothing_of_the_authors(project, ann, answers, asking, client_for):
    client = client_for(ann)
    page = client.get(f"/p/{project.slug}/annotate/")
    more = client.post(f"/p/{project.slug}/annotate/next/", {"n": 2}, **JSON)
    seat = Assignment.objects.filter(user=ann).first()
    reply = client.post(
        f"/p/{project.slug}/annotate/rank/", {"assignment": seat.pk, "ranks": "1,2,3,4,5", "next": 1}, **JSON
    )
    assert reply.status_code == 201
    back = client.post(f"/p/{project.slug}/annotate/undo/", {"assignment": seat.pk}, **JSON)
    item = client.get(f"/p/{project.slug}/annotate/{seat.comparison_id}/")
    for answer in (page, more, reply, back, item):
        text = answer.content.decode() + str(answer.headers)
        assert "secret" not in text
        assert not any(str(pk) in text for pk in seat.shown), "ids rise with the time of sampling, model by model"


@pytest.mark.slow
def test_without_scripts_a_form_ranks(project, ann, answers, asking, client_for):
    client = client_for(ann)
    page = client.get(f"/p/{project.slug}/annotate/").content.decode()
    seat = Assignment.objects.filter(user=ann).first()
    assert f'name="rank-{seat.pk}-4"' in page
    fields = {f"rank-{seat.pk}-{at}": str(at + 1) for at in range(5)}
    reply = client.post(f"/p/{project.slug}/annotate/rank/", {"assignment": seat.pk} | fields)
    assert reply.status_code == 302
    assert Ranking.objects.get().groups == [[pk] for pk in seat.shown]
    missing = client.post(
        f"/p/{project.slug}/annotate/rank/", {"assignment": Assignment.objects.filter(user=ann).last().pk}, follow=True
    )
    assert "numbers from 1" in missing.content.decode()
    mine = client.get(f"/p/{project.slug}/annotate/{seat.comparison_id}/").content.decode()
    assert "A › B › C › D › E" in mine
    assert "You have ranked these answers" in mine


@pytest.mark.slow
def test_an_export_has_the_ranking_as_it_was_made_and_not_the_one_taken_back(
    project, ann, answers, asking, make_project, tmp_path
):
    seat = lease(project, ann)
    rank(seat, [1, 2, 3, 4, 5], now=T0)
    services.vote_undo(project=project, user=ann, now=T0)
    rank(seat, [2, 2, 1, 3, 4], now=T0 + timedelta(minutes=1), seconds=12.5, reason="warm", said_at=T0)
    file, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    call_command("export_preferences", project=project.slug, format="records", out=str(file), stdout=StringIO())
    (line,) = [line for line in file.read_text().splitlines() if '"rankings"' in line]
    (said,) = json.loads(line)["rankings"]
    place = {pk: at for at, pk in enumerate(sorted(seat.shown))}
    shown_places = [place[pk] for pk in seat.shown]
    assert said == {
        "rater": "ann",
        "groups": [[shown_places[2]], sorted(shown_places[:2]), [shown_places[3]], [shown_places[4]]],
        "shown": shown_places,
        "at": said["at"],
        "seconds": 12.5,
        "guideline": "v1",
        "reason": "warm",
    }
    copy = make_project("copy")
    call_command("import_records", str(file), project=copy.slug, stdout=StringIO())
    assert Vote.objects.filter(comparison__project=copy, ranking__isnull=False).exclude(order="").count() == 10
    call_command("export_preferences", project=copy.slug, format="records", out=str(again), stdout=StringIO())
    assert again.read_text() == file.read_text()


@pytest.mark.slow
def test_new_answers_join_sets_when_they_are_imported_or_paired(
    project, ann, make_prompt, make_completion, tmp_path, client_for, erin
):
    guideline_add(project=project, text="Rank.", actor=None, task="ranking", set_size=4)
    file = tmp_path / "new.jsonl"
    texts = [{"text": f"Dear Maria, {n}.", "model": f"m{n}"} for n in range(4)]
    file.write_text(json.dumps({"id": "r1", "prompt": "Write to Maria.", "completions": texts}) + "\n")
    call_command("import_records", str(file), project=project.slug, stdout=StringIO())
    assert len(lease(project, ann).shown) == 4
    prompt = make_prompt(project)
    for n in range(3):
        make_completion(prompt, f"Dear Ben, {n}.")
    client_for(erin).post(f"/p/{project.slug}/samples/compare/", {"per_prompt": "1"})
    seats = services.assignments_lease(project=project, user=ann, n=5, now=T0, rng=Random(1))
    assert sorted(len(seat.shown or ()) for seat in seats) == [3, 4]
    queue_is_right(project)


@pytest.mark.slow
def test_a_lead_chooses_the_task_with_the_guideline(project, bob, ann, answers, client_for):
    client = client_for(bob)
    url = f"/p/{project.slug}/settings/guidelines/"
    for size in ("2", "9", "x"):
        refused = client.post(url, {"text": "Rank them.", "task": "ranking", "set_size": size})
        assert refused.status_code == 400
    assert client.post(url, {"text": "Rank them.", "task": "juggle", "set_size": "4"}).status_code == 400
    assert client.post(url, {"text": "Rank them.", "task": "ranking", "set_size": "5"}).status_code == 302
    page = client.get(f"/p/{project.slug}/settings/?tab=guidelines").content.decode()
    assert "Rank several answers</span>" in page
    assert len(lease(project, ann).shown) == 5
    assert client.post(url, {"text": "Rank them."}).status_code == 302, "without a task it is pairs"
    assert lease(project, ann).shown is None
