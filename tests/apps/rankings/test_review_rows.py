"""What Review reads is what the labels say, whatever happens to them, and in whichever order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import product

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.labels.effect import override_effect, override_effect_kept
from apps.labels.exclusions import exclusion_create, exclusion_lift
from apps.labels.models import Exclusion, ReviewCount, ReviewItem
from apps.labels.review_counts import review_differences
from apps.labels.services import NewVerdict, verdicts_add
from apps.rankings import selectors, services
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong
from apps.samples.exposure import shown
from prefloop.types import LabelledVerdict, PrefloopError

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OUTCOMES = ("first", "second", "tie", "both_bad")


@pytest.fixture
def world(project, ann, bob, erin, at_once, make_comparison, make_judge):
    """Forty pairs, three judges, one of them in two versions, and whatever people and judges may do with them."""
    project.votes_per_comparison = 2
    project.label_judge = "main"
    project.random_share = 30
    project.save()
    judges = [
        make_judge(project, "main"),
        make_judge(project, "other", order_policy="average"),
        make_judge(project, "other", version=2, order_policy="random"),
        make_judge(project, "third", order_policy="random"),
    ]
    with at_once(project):
        pairs = [make_comparison(project, held_out=i % 13 == 7, same_answers=i % 17 == 5) for i in range(40)]
    return project, judges, pairs, (ann, bob, erin)


class Happening:
    """Things that happen in a project, drawn at random."""

    def __init__(self, world, seed):
        self.project, self.judges, self.pairs, self.people = world
        self.rng, self.now = random.Random(seed), T0

    def once(self):
        self.now += timedelta(minutes=1)
        what = self.rng.choices(
            (self.judge, self.vote, self.undo, self.decide, self.withdraw, self.settle, self.exclude, self.look),
            (6, 6, 1, 4, 1, 1, 1, 4),
        )[0]
        try:
            what()
        except PrefloopError:
            return ""
        return what.__name__

    def judge(self):
        judge, some = self.rng.choice(self.judges), self.rng.sample(self.pairs, 6)
        said = []
        for pair in some:
            for order in self.rng.choice((["01"], ["10"], ["01", "10"])):
                p = self.rng.choice((0.02, 0.3, 0.45, 0.6, 0.97))
                state = self.rng.choice(["ok"] * 8 + ["unparseable"])
                flags = ("verdict-in-answer",) if self.rng.random() < 0.1 else ()
                one = LabelledVerdict(
                    state=state,
                    outcome=("first" if p > 0.5 else "second") if state == "ok" else None,
                    p_first=p if state == "ok" else None,
                    flags=flags,
                )
                said.append(NewVerdict(pair.pk, order, one))
        verdicts_add(judge=judge, run=None, verdicts=said)

    def vote(self):
        person = self.rng.choice(self.people)
        seat = services.assignment_next(project=self.project, user=person, now=self.now, rng=self.rng)
        if seat is not None:
            choice = self.rng.choice(services.CHOICES)
            services.vote_create(assignment=seat, choice=choice, now=self.now)

    def undo(self):
        services.vote_undo(project=self.project, user=self.rng.choice(self.people), now=self.now)

    def decide(self):
        pair, judge = self.rng.choice(self.pairs), self.rng.choice(self.judges)
        kind = self.rng.choice(("agree", "override"))
        choice = self.rng.choice(OUTCOMES) if kind == "override" else ""
        person = self.rng.choice(self.people)
        services.override_create(comparison=pair, judge=judge, user=person, now=self.now, kind=kind, choice=choice)

    def withdraw(self):
        services.override_undo(project=self.project, user=self.rng.choice(self.people), now=self.now)

    def settle(self):
        person, pair = self.rng.choice(self.people), self.rng.choice(self.pairs)
        services.adjudication_create(comparison=pair, user=person, choice=self.rng.choice(OUTCOMES), now=self.now)

    def exclude(self):
        standing = Exclusion.objects.filter(project=self.project, lifted_at=None).first()
        by = self.people[0]
        if standing is not None:
            exclusion_lift(exclusion=standing, by=by, now=self.now)
        else:
            rater, since = self.rng.choice(self.people).username, self.rng.choice((None, T0 + timedelta(minutes=40)))
            exclusion_create(project=self.project, rater=rater, since=since, reason="", by=by, now=self.now)

    def look(self):
        shown(user_id=self.rng.choice(self.people).pk, comparison_ids=[self.rng.choice(self.pairs).pk], where="test")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_rows_and_counts_follow_whatever_happens(world, seed):
    happening, done = Happening(world, seed), set()
    for step in range(120):
        done.add(happening.once())
        if step % 4:  # a number that is wrong stays so: looking takes longer than what happens
            continue
        assert review_differences(happening.project) == {}, done
        assert differences(happening.project) == {}, done
        assert n_seats_wrong(happening.project) == 0, done
    assert len(done - {""}) == 8, "everything happened"
    assert len(set(ReviewItem.objects.values_list("code", flat=True))) >= 4
    assert ReviewItem.objects.filter(contested__isnull=False).exists()
    for standing in Exclusion.objects.filter(lifted_at=None):
        exclusion_lift(exclusion=standing, by=happening.people[0], now=happening.now)
    for judge in happening.judges:
        ids = list(judge.review_items.values_list("comparison_id", flat=True))
        kept = override_effect_kept(judge)
        assert kept == override_effect(happening.project, judge=judge, comparison_ids=ids)
        assert kept.n_reviewed > 0


@pytest.mark.slow
def test_the_queue_comes_in_the_order_of_its_worth(world):
    """As weighed from the labels themselves, for each person as far as they have seen what people said."""
    happening = Happening(world, 5)
    for _ in range(80):
        happening.once()
    project, judges, pairs, people = world
    lifted = 0
    for judge, decided in product(judges, (False, True, None)):
        there = {pair.pk for pair in pairs if not (pair.held_out or pair.same_answers)}
        labelled = set(judge.verdicts.values_list("comparison_id", flat=True)) & there
        done = set(ReviewItem.objects.filter(state="decided").values_list("comparison_id", flat=True))
        wanted = labelled if decided is None else labelled & done if decided else labelled - done
        for person, with_people in ((people[0], True), (people[1], True), (people[1], False), (None, True)):
            seen = labelled if person is None else {e.comparison_id for e in person.exposures.all()}
            blind = [key for key in wanted if not with_people or key not in seen]
            weighed = selectors.uncertainty(sorted(wanted), judge, without_people=blind)
            order = sorted(wanted, key=lambda key: (-weighed[key].value, key))
            given = selectors.review_queue(
                project, judge=judge, decided=decided, viewer=person, with_people=with_people
            )
            assert [(item.comparison_id, item.worth) for item in given] == [(key, weighed[key]) for key in order]
            assert selectors.n_to_review(project, judge=judge, decided=decided) == len(order)
            short = selectors.review_queue(
                project, judge=judge, decided=decided, viewer=person, with_people=with_people, limit=3
            )
            assert short == given[:3]
            some = order[::2]
            of_round = selectors.review_queue(
                project, judge=judge, comparison_ids=some, decided=decided, viewer=person, with_people=with_people
            )
            assert [item.comparison_id for item in of_round] == some
            assert selectors.n_to_review(project, judge=judge, comparison_ids=some, decided=decided) == len(some)
            lifted += any(item.worth.code == "people" for item in given)
    assert lifted, "somebody saw what people said"


@pytest.mark.slow
def test_check_queue_finds_wrong_rows_and_repairs_them(world, capsys):
    happening = Happening(world, 7)
    for _ in range(60):
        happening.once()
    ReviewItem.objects.filter(pk=ReviewItem.objects.first().pk).update(value=99.0)
    ReviewItem.objects.filter(pk=ReviewItem.objects.last().pk).delete()
    ReviewCount.objects.filter(judge__name="main").update(n_reviewed=77)
    with pytest.raises(CommandError, match="are wrong"):
        call_command("check_queue")
    assert "n_reviewed of judge main is kept as 77" in capsys.readouterr().out
    call_command("check_queue", repair=True)
    assert review_differences(happening.project) == {}
    capsys.readouterr()
    call_command("check_queue")
    assert "every number is right" in capsys.readouterr().out


@pytest.mark.slow
def test_an_earlier_database_gets_its_rows_and_a_job_weighs_them(world):
    happening = Happening(world, 9)
    for _ in range(80):
        happening.once()
    project = happening.project
    waits = dict(ReviewCount.objects.values_list("judge", "n_to_review"))
    rows = sorted(ReviewItem.objects.values_list("judge", "comparison", "state", "n_verdicts"))
    ReviewItem.objects.all().delete()
    ReviewCount.objects.update(n_decided=0, **{name: 0 for name in ("n_reviewed", "n_overridden", "n_changed")})
    ReviewCount.objects.update(**{name: 0 for name in ("n_flipped", "n_added", "n_removed")})
    fill = import_module("apps.labels.migrations.0004_fill_review_items").fill
    for _ in range(2):  # again changes nothing
        fill(apps, None)
        assert sorted(ReviewItem.objects.values_list("judge", "comparison", "state", "n_verdicts")) == rows
        assert dict(ReviewCount.objects.values_list("judge", "n_to_review")) == waits
    assert Job.objects.filter(kind="labels.review", project=project).count() == 1
    drain(["cpu"], worker_name="w")
    assert review_differences(project) == {}
