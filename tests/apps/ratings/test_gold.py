"""Gold answers: their right rating is known; mixed in at the set rate, by nothing to be told from others, practised on,
and never trained on.
"""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.models import AuditEvent
from apps.labels.models import GoldItem, Rating
from apps.labels.rated_gold import raters_of
from apps.labels.ratings import ratings_to_learn
from apps.projects.services import label_policy_set
from apps.rankings.models import PracticeAnswer
from apps.rankings.selectors import must_practise, practice_of, practice_rating_next
from apps.rankings.services import gold_share_set, practice_bound_set
from apps.ratings import selectors, services
from apps.ratings.models import RatingSeat
from apps.reports.people import crew_of
from apps.samples.models import AnswerExposure, Comparison
from apps.samples.services import comparisons_create
from prefloop.types import PrefloopError
from tests.apps.ratings.test_ratings import T0, ask, counts_are_right, lease, rate

pytestmark = pytest.mark.django_db
JSON = {"HTTP_ACCEPT": "application/json"}
RIGHT = {"correct": 5, "polite": 1}


@pytest.fixture
def mixed(project, alice, make_prompt, make_completion):
    """Thirty answers to rate, and ten gold ones, of which one in five is to be gold."""
    for n in range(40):
        make_completion(make_prompt(project), f"Answer {n}.")
    ask(project)
    project.refresh_from_db()
    for answer in project.completions.order_by("pk")[10:20]:
        services.rating_gold_mark(answer=answer, values=RIGHT, by=alice, note="because")
    gold_share_set(project=project, share=20, by=alice)
    return project


def is_gold(seat) -> bool:
    return GoldItem.objects.filter(completion=seat.completion_id).exists()


@pytest.mark.slow
@pytest.mark.parametrize("ask_for", [1, 21])
def test_everybody_gets_them_at_the_rate_once_and_no_number_tells(ask_for, mixed, ann, bob, member):
    label_policy_set(project=mixed, votes_per_comparison=2, annotators_may_override=False, actor=None)
    mixed.refresh_from_db()
    for user in (ann, member("dora", "annotator")):
        before, given, order = selectors.progress(mixed, user), [], []
        while held := lease(mixed, user, n=ask_for):
            assert [seat.pk for seat in held] == sorted(seat.pk for seat in held), "ids only rise, gold among them"
            again = lease(mixed, user, n=ask_for)  # of many it gives a few more
            assert [seat.pk for seat in again][: len(held)] == [seat.pk for seat in held]
            for seat in held:
                assert seat.pk not in order
                order.append(seat.pk)
                given.append(is_gold(seat))
                rate(seat)
                now = selectors.progress(mixed, user)
                assert (now.done, now.total) == (len(given), before.total), "gold or not"
        assert (len(given), sum(given)) in {(37, 7), (38, 8)}
        assert order == sorted(order)
        assert Rating.objects.filter(user=user).values("completion").distinct().count() == len(given)
    assert selectors.progress(mixed, bob).left == 0, "only gold would be left for him"
    counts_are_right(mixed)


@pytest.mark.slow
def test_a_gold_answer_takes_the_same_statements_and_looks_the_same(mixed, ann, client_for, api_for):
    desk, shapes, counts = client_for(ann), {}, {}
    (held,) = lease(mixed, ann, now=timezone.now())
    for turn in range(26):
        values = '{"correct": 3, "polite": 1}'
        body = {"assignment": held.pk, "choice": "rated", "values": values, "next": "1"}
        with CaptureQueriesContext(connection) as queries:
            reply = desk.post(f"/p/{mixed.slug}/annotate/rate/save/", body, **JSON)
        assert reply.status_code == 201
        own = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
        n = sum(not one["sql"].startswith(own) for one in queries.captured_queries)
        held = RatingSeat.objects.get(pk=re.search(r'data-assignment="(\d+)"', reply.json()["html"]).group(1))
        shape = (re.sub(r"\d+", "#", reply.json()["html"]), str(sorted(reply.json())), str(sorted(reply.headers)))
        shapes.setdefault(is_gold(held), set()).add(shape)
        if turn:  # the first rating of a person asks for their name, whatever comes next
            counts.setdefault(is_gold(held), set()).add(n)
    assert set(shapes) == {True, False}
    assert shapes[True] == shapes[False]
    assert len(counts[True] | counts[False]) == 1
    told = api_for(ann).post(f"/api/v1/projects/{mixed.slug}/ratings/next/").json()
    assert "gold" not in str(told)


@pytest.mark.slow
def test_a_skip_an_undo_and_a_lease_that_ends_do_not_give_one_twice(mixed, ann, alice):
    seats = lease(mixed, ann, n=21)
    gold = [seat for seat in seats if is_gold(seat)]
    assert len(gold) in {3, 4, 5}
    answers = {seat.completion_id for seat in gold}
    services.rating_create(seat=gold[0], said=services.Rated(choice="skip"), now=T0)
    rate(gold[1])
    assert services.rating_undo(project=mixed, user=ann, now=T0).pk == gold[1].pk
    again = [seat for seat in lease(mixed, ann, n=42) if is_gold(seat)]
    assert answers - {gold[0].completion_id} <= {seat.completion_id for seat in again}
    assert len({seat.completion_id for seat in again}) == len(again)
    counts_are_right(mixed)
    services.rating_gold_unmark(answer=gold[2].completion, by=alice)  # while she holds it
    rate(gold[2])
    gold_share_set(project=mixed, share=0, by=alice)
    counts_are_right(mixed)
    assert AuditEvent.objects.filter(verb="gold.unmark", target=f"completion:{gold[2].completion_id}").exists()


@pytest.mark.slow
def test_it_is_not_trained_on_nor_are_its_pairs_and_its_prompts_ratings(
    project, ann, alice, bob, make_prompt, make_completion
):
    prompt = make_prompt(project)
    answers = [make_completion(prompt, f"Answer {n}.") for n in range(3)]
    twin = make_completion(prompt, "Answer 0.")
    with pytest.raises(PrefloopError, match="does not ask"):
        services.rating_gold_mark(answer=answers[0], values=RIGHT, by=alice)
    alone = make_completion(make_prompt(project), "Alone.")  # no pair can be held out for it
    ask(project)
    project.refresh_from_db()
    (before,) = comparisons_create(project=project, pairs=[(answers[0], answers[1])], origin="manual")
    for seat in lease(project, ann, n=9):
        rate(seat)
    assert ratings_to_learn(project).count() == 4
    services.rating_gold_mark(answer=alone, values=RIGHT, by=alice)
    assert ratings_to_learn(project).count() == 3
    services.rating_gold_mark(answer=answers[0], values=RIGHT, by=alice, note=" read line 2 ")
    assert AnswerExposure.objects.filter(user=alice, completion=answers[0]).exists()
    (after,) = comparisons_create(project=project, pairs=[(answers[0], twin)], origin="manual")
    held_out = set(Comparison.objects.filter(held_out=True))
    assert {before, after} < held_out
    assert held_out == set(Comparison.objects.filter(first=answers[0])), "and not that of the two others"
    assert not ratings_to_learn(project).exists()
    assert GoldItem.objects.get(completion=answers[0]).note == "read line 2"
    for refused in ({"correct": 5}, {"correct": 6, "polite": 1}, {**RIGHT, "warm": 1}):
        with pytest.raises(PrefloopError):
            services.rating_gold_mark(answer=answers[1], values=refused, by=alice)
    with pytest.raises(PrefloopError, match="repeats another"):
        services.rating_gold_mark(answer=twin, values=RIGHT, by=alice)
    services.rating_gold_unmark(answer=answers[0], by=alice)
    assert not Comparison.objects.filter(held_out=True).exists()
    assert ratings_to_learn(project).count() == 3


@pytest.mark.slow
def test_the_leads_page_says_how_many_are_right_and_names_who_is_not(mixed, alice, bob, member, client_for, api_for):
    answers = list(mixed.completions.order_by("pk")[:30])
    gold_share_set(project=mixed, share=0, by=alice)
    for answer in answers:
        services.rating_gold_mark(answer=answer, values=RIGHT, by=alice)
    for name, values in (
        ("a", {"correct": 4, "polite": 1}),
        ("b", RIGHT),
        ("c", RIGHT),
        ("d", {**RIGHT, "correct": 3}),
    ):
        user = member(name, "annotator")
        for answer in answers:
            seat = RatingSeat.objects.create(
                project=mixed, completion=answer, user=user, state="open", lease_until=T0, guideline="v1"
            )
            services.rating_create(seat=seat, said=services.Rated(values=values), now=T0)
    assert [(one.name, one.n, one.n_gold, one.k_gold) for one in raters_of(mixed)] == [
        ("a", 30, 30, 30), ("b", 30, 30, 30), ("c", 30, 30, 30), ("d", 30, 30, 0)
    ]  # fmt: skip
    found = crew_of(project=mixed, now=T0)
    assert [(one.person, one.kind) for one in found.suspicious] == [("d", "rates_off")]
    assert (found.raters[0].gold["rate"], found.raters[0].gold["ci95"][1]) == (1.0, 1.0)
    page = client_for(bob).get(f"/p/{mixed.slug}/reports/people/").content.decode()
    assert "d rates 0.0" in page
    told = api_for(bob).get(f"/api/v1/projects/{mixed.slug}/reports/people/").json()["raters"]
    assert [(one["name"], one["gold"]["k"], len(one["suspicions"])) for one in told][-1] == ("d", 0, 1)
    services.rating_gold_mark(answer=answers[0], values={"correct": 3, "polite": 1}, by=alice)
    assert crew_of(project=mixed, now=T0).raters[3].gold["k"] == 1, "what was kept is not what was marked since"
    page = client_for(bob).get(f"/p/{mixed.slug}/review/gold/").content.decode()
    assert "2 / 4" in page
    assert AnswerExposure.objects.filter(user=bob, completion=answers[0]).exists()


@pytest.mark.slow
def test_practice_comes_first_says_what_is_right_and_qualifies(mixed, ann, bob, client_for, api_for):
    desk, lead = client_for(ann), client_for(bob)
    real, gold, practice = (
        f"/p/{mixed.slug}/annotate/rate/",
        "/review/gold/answers/",
        f"/p/{mixed.slug}/annotate/rate/practice/",
    )
    chosen = list(mixed.completions.order_by("pk")[:2])
    for answer, note in zip(chosen, ("polite & true", "<i>why</i>"), strict=True):
        here = f"/p/{mixed.slug}{gold}{answer.pk}/"
        assert desk.get(here).status_code == 404
        assert "The right rating of answer" in lead.get(here).content.decode()
        body = {"item-correct": "5", "item-polite": "0", "note": note, "for_practice": "1"}
        assert lead.post(here, body).headers["Location"] == f"/p/{mixed.slug}/review/gold/"
    assert lead.get(here).content.decode().count(" checked") == 3
    assert lead.post(here, {"item-correct": "5"}, follow=True).content.decode().count("has no value") == 1
    practice_bound_set(project=mixed, bound=100, by=bob)
    mixed.refresh_from_db()
    assert desk.get(f"/p/{mixed.slug}/annotate/", follow=True).redirect_chain[-1][0] == practice
    assert lease(mixed, ann, n=3) == []
    assert must_practise(mixed, ann)
    assert api_for(ann).post(f"/api/v1/projects/{mixed.slug}/ratings/next/").status_code == 204
    assert not lease(mixed, bob, n=0)
    assert lease(mixed, bob), "leads need not practise"
    far = api_for(ann).get(f"/api/v1/projects/{mixed.slug}/ratings/practice/").json()
    assert (far["n"], far["next"]["answer_id"], "polite & true" in str(far)) == (2, chosen[0].pk, False)
    body = {"answer": chosen[0].pk, "item-correct": "4", "item-polite": "0"}
    told = desk.post(practice, body, follow=True).content.decode()
    assert "polite &amp; true" in told
    assert "not right" not in told
    said = {"answer_id": chosen[1].pk, "values": {"correct": 3, "polite": 0}}
    for _ in range(2):
        told = api_for(ann).post(f"/api/v1/projects/{mixed.slug}/ratings/practice/", said, format="json").json()
        assert (told["is_right"], told["right_values"], told["next"]) == (False, {"correct": 5, "polite": 0}, None)
        said["values"]["correct"] = 5
    assert PracticeAnswer.objects.get(completion=chosen[1]).values["correct"] == 3, "the first stands"
    assert "&lt;i&gt;why" in desk.get(f"{practice}?answered={chosen[1].pk}").content.decode()
    assert "Not enough right answers" in desk.get(practice).content.decode()
    assert "1 right" in lead.get(f"/p/{mixed.slug}/review/practice/").content.decode()
    lead.post(f"/p/{mixed.slug}/review/practice/decide/", {"user": "ann", "act": "again"})
    while (item := practice_rating_next(mixed, practice_of(mixed, ann))) is not None:
        desk.post(practice, {"answer": item.completion_id, "item-correct": "5", "item-polite": "0"})
    assert "You passed" in desk.get(practice).content.decode()
    given = lease(mixed, ann, n=21)
    assert len(given) > 9
    assert not {answer.pk for answer in chosen} & {seat.completion_id for seat in given}
    assert desk.get(real).status_code == 200
    assert not Rating.objects.exists()
    assert api_for(bob).delete(f"/api/v1/projects/{mixed.slug}/answers/{chosen[0].pk}/gold/").status_code == 204
    assert GoldItem.objects.filter(for_practice=True).count() == 1
