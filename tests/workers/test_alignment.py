"""A judge that is aligned on corrections: what it is shown, what it is measured on, and what comes of it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.judging.alignment import (
    AlreadyUsed,
    alignment_adopt,
    alignment_start,
    corrections,
    truths_measured,
)
from apps.judging.figures import judge_figures
from apps.judging.services import BadJudge, judge_create
from apps.labels.columns import agreement_columns
from apps.labels.models import Judge, Override, Verdict, Vote
from apps.labels.selectors import judge_names
from apps.policies.models import Spend
from prefloop.judging.examples import may_align
from tests.workers.scripted import asked, between, llm

pytestmark = pytest.mark.django_db


def learning(server):
    """Say A until examples are there; then prefer “good”, as the examples do."""

    def say(text, nth):
        if not [one for one in server.before[text] if one["role"] == "assistant"]:
            return "[[A]]"
        return "[[A]]" if "good" in between(text, "ANSWER A") else "[[B]]"

    return say


@pytest.fixture
def world(project, server, endpoint, make_comparison, make_prompt):
    """30 prompts; people corrected the judge on those it may be shown, and voted on the others; and some of each."""
    server.say = learning(server)
    judge = llm(project, endpoint, mode="text")
    shown, measured = [], []
    for n in range(30):
        prompt = make_prompt(project, f"prompt {n}")
        pair = make_comparison(project, (f"poor {n}", f"good {n}"), prompt=prompt)
        if may_align(judge.name, prompt.text):
            Override.objects.create(
                comparison=pair, judge=judge, rater="bob", kind="override", choice="second", judge_outcome="first",
                reason="It is kinder.",
            )  # fmt: skip
            shown.append(pair)
        else:
            measured.append(pair)
        Vote.objects.create(comparison=pair, rater="ann", choice="second", order="01", at=timezone.now())
    return judge, shown, measured


def start(world, n_examples=4, **more):
    judge, shown, _ = world
    ids = [pair.pk for pair in shown[:n_examples]]
    made = alignment_start(judge=judge, comparison_ids=ids, criterion=more.pop("criterion", judge.criterion), **more)
    drain(["cpu"], worker_name="w")
    made.refresh_from_db()
    return made


@pytest.mark.slow
def test_the_new_version_is_measured_on_other_prompts_beside_the_old_one(world, server):
    judge, shown, measured = world
    made = start(world)
    asked_about = {pair["comparison"] for pair in made.pairs}
    assert asked_about == {pair.pk for pair in measured} == set(truths_measured(judge))
    assert not asked_about & {pair.pk for pair in shown}
    assert (made.figures["before"], made.figures["after"]) == (0.5, 1.0)  # always A is right in one of two orders
    low, high = made.figures["difference_ci95"]
    assert low > 0
    assert low <= 0.5 <= high
    assert (made.figures["consistency_before"], made.figures["consistency_after"]) == (0.0, 1.0)
    assert made.verdicts.count() == 4 * len(measured)
    assert Spend.objects.filter(purpose="alignment").exists()
    assert not Verdict.objects.exists()  # a trial is no label
    assert Judge.objects.count() == 1  # and nobody uses it


@pytest.mark.slow
def test_it_becomes_the_next_version_once_and_is_measured_on_the_other_side_alone(world, server):
    judge, shown, measured = world
    made = start(world)
    new = alignment_adopt(alignment=made)
    assert (new.version, len(new.options["examples"]), new.criterion) == (2, 4, judge.criterion)
    with pytest.raises(AlreadyUsed):
        alignment_adopt(alignment=made)
    asked(new, [*shown, *measured])
    assert judge_figures(judge.project)[new.pk].agreement.n_comparisons == len(measured)
    columns = agreement_columns(judge.project, judge_names(judge.project))
    assert len(columns.verdict_item) == 2 * len(measured)  # the report leaves the shown side out too
    again = start((new, shown, measured), criterion="kinder and shorter")  # later versions keep the sides
    assert {pair["comparison"] for pair in again.pairs} == {pair.pk for pair in measured}


@pytest.mark.slow
def test_a_killed_trial_asks_nothing_twice(world, server):
    """Half of what was wanted is there already, as a killed worker leaves it."""
    made = start(world)
    n = sum(server.asked.values())
    rows = list(made.verdicts.order_by("id"))
    for row in rows[::2]:
        row.delete()
    Job.objects.filter(kind="judging.align").update(state="queued", attempt=0, ended_at=None)
    drain(["cpu"], worker_name="w")
    assert made.verdicts.count() == len(rows)
    assert sum(server.asked.values()) == n + len(rows[::2])


@pytest.mark.slow
def test_only_standing_corrections_of_the_shown_side_are_examples(world, make_comparison, make_prompt):
    judge, shown, measured = world
    assert {one.comparison.pk for one in corrections(judge)} == {pair.pk for pair in shown}
    for pair, more in (
        (measured[0], {"choice": "second", "judge_outcome": "first"}),
        (shown[0], {"kind": "agree", "choice": "first", "judge_outcome": "first"}),
    ):
        before = Override.objects.filter(comparison=pair).last()
        Override.objects.create(
            comparison=pair, judge=judge, rater="bob", **({"kind": "override"} | more), supersedes=before
        )
    found = {one.comparison.pk for one in corrections(judge)}
    assert found == {pair.pk for pair in shown[1:]}
    with pytest.raises(BadJudge, match="can't be shown"):
        alignment_start(judge=judge, comparison_ids=[measured[0].pk], criterion="x")
    shown[1].held_out = True
    shown[1].save()
    assert shown[1].pk not in {one.comparison.pk for one in corrections(judge)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"comparison_ids": [], "criterion": "kinder"}, "nothing would change"),
        ({"comparison_ids": [], "criterion": " "}, "needs a criterion"),
        ({"comparison_ids": [], "criterion": "x", "n": 0}, "1 to 2,000 pairs"),
        ({"comparison_ids": list(range(1, 70)), "criterion": "x"}, "at most 64 pairs"),
    ],
)
def test_what_can_t_be_tried_is_refused_in_one_sentence(world, more, why):
    with pytest.raises(BadJudge, match=why):
        alignment_start(judge=world[0], **more)


def test_without_measured_pairs_it_says_what_is_missing(project, endpoint):
    judge = judge_create(project=project, name="alone", kind="llm", endpoint=endpoint, criterion="kinder")
    with pytest.raises(BadJudge, match="there are 0 pairs"):
        alignment_start(judge=judge, comparison_ids=[], criterion="kinder, and shorter")
