"""Judges asked by jobs: grades, ensembles, caps, trouble of every kind, and asking again after it."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from decimal import Decimal

import pytest

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.judging.services import BadJudge, judge_create, judging_run_enqueue
from apps.judging.specs import spec_of
from apps.labels.models import Preference, Score, Verdict
from apps.labels.selectors import scores_of
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Endpoint, Spend
from apps.policies.spending import spent_on
from prefloop.judging.client import ChatEndpoint, Limits
from tests.workers.ensembles import ensemble_create
from tests.workers.scripted import asked, honest, llm, states

pytestmark = pytest.mark.django_db


# --- grades ----------------------------------------------------------------------------------------------------------


def test_an_additive_judge_grades_each_answer_three_times_and_compares_the_means(project, server, endpoint, pairs):
    def say(text, nth):
        return f"Reasons.\nScore: {[4, 5, 3][nth]}" if "good" in text else ["Score: 2", "Score: 1", "no idea"][nth]

    server.say = say
    judge = llm(project, endpoint, mode="additive")
    (pair,) = pairs(1)
    run = asked(judge, [pair])
    assert scores_of(judge, [pair.first_id, pair.second_id]) == {pair.first_id: 4.0, pair.second_id: 1.5}
    rows = list(Score.objects.filter(judge=judge))
    assert Counter((row.completion_id, row.sample) for row in rows) == Counter(
        (key, sample) for key in (pair.first_id, pair.second_id) for sample in range(3)
    )
    (unread,) = [row for row in rows if row.state != "ok"]
    assert (unread.completion_id, unread.state, unread.value) == (pair.second_id, "unparseable", None)
    assert unread.raw == "no idea"
    assert all(row.rationale == "Reasons." for row in rows if row.completion_id == pair.first_id)
    verdict = Verdict.objects.get(judge=judge)
    assert (verdict.outcome, verdict.state, verdict.rationale) == ("first", "ok", "scores 4 and 1.5")
    judging_run_enqueue(run=run)
    asked(judge, [pair])
    assert sum(server.asked.values()) == 6


@pytest.mark.slow
def test_equal_grades_are_a_tie_and_unreadable_ones_no_verdict(project, server, endpoint, pairs):
    server.say = lambda text, nth: "Score: 7" if "0" in text else "I can't say."
    judge = llm(project, endpoint, mode="rubric")
    tied, unread = pairs(2)
    server.say = lambda text, nth: "Score: 7" if "good 0" in text or "poor 0" in text else "I can't say."
    asked(judge, [tied, unread])
    said = {row.comparison_id: (row.state, row.outcome) for row in Verdict.objects.filter(judge=judge)}
    assert said == {tied.pk: ("ok", "tie"), unread.pk: ("unparseable", "")}


@pytest.mark.parametrize("mode", ["text", "logprob", "soft", "five", "additive", "rubric"])
def test_the_simulated_judge_can_be_asked_in_every_way(project, make_comparison, mode):
    endpoint = endpoint_create(
        project=project, name="sim", base_url="simulated://letters", model="simulated-judge", is_simulated=True
    )
    kind = "Dear Maria,\nThank you so much for the wonderful flowers.\nWith love,\nTom"
    pair = make_comparison(project, (kind, "The flowers."))
    judge = judge_create(
        project=project, name="sim", kind="llm", endpoint=endpoint, criterion="kind and correct", mode=mode
    )
    asked(judge, [pair])
    assert set(Verdict.objects.filter(judge=judge).values_list("state", "outcome")) == {("ok", "first")}
    assert not Spend.objects.exists()


# --- ensembles -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_ensemble_asks_its_members_once_and_goes_with_most_of_them(project, server, endpoint, pairs):
    members = [llm(project, endpoint, name) for name in ("one", "two", "three")]
    agreeing, split = pairs(2)
    server.say = lambda text, nth: honest(text) if "good 0" in text else ("[[A]]", honest(text), "[[C]]")[nth % 3]
    together = ensemble_create(project=project, name="all", members=members)
    asked(members[0], [agreeing])
    before = Verdict.objects.filter(judge=members[0]).count()
    asked(together, [agreeing, split])
    assert Verdict.objects.filter(judge=members[0], comparison=agreeing).count() == before == 2
    said = Verdict.objects.get(judge=together, comparison=agreeing)
    assert (said.outcome, said.p_first, said.rationale) == ("first", 1.0, "one: first, two: first, three: first")
    # one always says A: inconsistent; two is honest; three sees no difference: one says first, one tie
    said = Verdict.objects.get(judge=together, comparison=split)
    assert (said.state, said.outcome) == ("inconsistent", "")


@pytest.mark.slow
def test_a_weighted_ensemble_goes_by_what_was_measured(project, make_comparison, make_judge, make_verdict, make_vote):
    world = {"project": project}
    good, bad = make_judge(project, "good", kind="world"), make_judge(project, "bad", kind="world")
    for k in range(20):
        pair = make_comparison(project)
        make_vote(pair, "first", rater="ann")
        make_verdict(pair, "first", judge=good)
        make_verdict(pair, "first" if k % 2 else "second", judge=bad)
    together = ensemble_create(**world, name="both", members=[good, bad], rule="weighted")
    assert together.options["weights"][str(bad.pk)] == 0.0
    assert together.options["weights"][str(good.pk)] == pytest.approx(3.0445, abs=1e-4)  # log 21
    with pytest.raises(BadJudge, match="two or more different"):
        ensemble_create(**world, name="x", members=[good])
    with pytest.raises(BadJudge, match="can't be a member"):
        ensemble_create(**world, name="x", members=[good, together])
    with pytest.raises(BadJudge, match="label more first"):
        ensemble_create(**world, name="x", members=[bad, make_judge(project, "new", kind="world")], rule="weighted")


# --- how many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 20])
def test_an_endpoint_gets_as_many_calls_at_once_as_is_set(project, server, endpoint, pairs, n, monkeypatch):
    in_flight, most, together = set(), [0], threading.Condition()
    wanted, in_first = min(n, 9), threading.Event()  # nine: more than the usual number
    patient = Limits(read_seconds=60.0, total_seconds=60.0)
    monkeypatch.setattr("workers.asking.ChatEndpoint", functools.partial(ChatEndpoint, limits=patient))

    def say(text, nth):
        with together:
            in_flight.add(threading.get_ident())
            most[0] = max(most[0], len(in_flight))
            together.notify_all()
            if in_first.is_set():  # one is asked alone before the others
                together.wait_for(lambda: most[0] >= wanted, timeout=30)
            in_first.set()
            in_flight.discard(threading.get_ident())
        return honest(text)

    server.say = say
    endpoint.at_once = n
    endpoint.save()
    judge = llm(project, endpoint)
    asked(judge, pairs(3 if n == 1 else 40))
    assert wanted <= most[0] <= n
    assert spec_of(judge, seed=0).at_once == n  # and of a judge inside a training step
    assert "at_once" not in spec_of(judge, seed=0).settings()  # no verdict depends on it


# --- caps ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_stops_at_the_cap_with_what_it_has_and_goes_on_when_it_is_raised(project, server, endpoint, pairs):
    server.say = honest
    rows = pairs(20)
    judge = llm(project, endpoint, options={"max_tokens": 50})
    endpoint.input_price, endpoint.output_price, endpoint.cap_tokens = Decimal("2.5"), Decimal(10), 3000
    endpoint.save()
    run = asked(judge, rows)
    job = Job.objects.get(group=run.group)
    assert (job.state, job.failure_class) == ("failed", "cap_reached")
    assert "of 3,000 tokens" in job.error
    n_before = sum(server.asked.values())
    assert 1 <= n_before < 40
    assert states(judge) == {"ok": n_before}
    spent = spent_on(Endpoint.objects.get())
    assert (spent.n_calls, spent.tokens, spent.held_tokens) == (n_before, 110 * n_before, 0)
    assert spent.tokens <= 3000
    # by hand: 100 tokens at $2.50 and 10 at $10 a million are $0.00035
    assert spent.cost == Decimal("0.00035") * n_before

    Endpoint.objects.update(cap_tokens=None, cap_cost=Decimal("1"))
    judging_run_enqueue(run=run)
    drain(["cpu"], worker_name="w")
    assert states(judge) == {"ok": 40}
    assert set(server.asked.values()) == {1}
    assert Endpoint.objects.get().committed_tokens == 40 * 110
    assert Preference.objects.filter(outcome="first").count() == 20


def test_a_cap_in_money_holds_before_the_first_call(project, server, endpoint, pairs):
    judge = llm(project, endpoint)
    Endpoint.objects.update(output_price=Decimal(1000), cap_cost=Decimal("0.5"))
    run = asked(judge, pairs(1))  # 1,024 tokens at $1,000 a million: more than a dollar
    job = Job.objects.get(group=run.group)
    assert (job.failure_class, sum(server.asked.values())) == ("cap_reached", 0)
    assert "$0.5000 of $0.50 are left" in job.error
    assert Endpoint.objects.get().committed_nanos == 0


@pytest.mark.slow
def test_usage_that_is_not_told_counts_as_the_most_it_could_be(project, server, endpoint, pairs):
    message = {"role": "assistant", "content": "[[A]]"}
    server.say = lambda text, nth: {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    judge = llm(project, endpoint, options={"max_tokens": 50}, order_policy="random")
    asked(judge, pairs(1))
    spend = Spend.objects.get()
    assert (spend.n_calls, spend.n_estimated, spend.completion_tokens) == (1, 1, 50)
    assert spend.prompt_tokens > 100
    assert Endpoint.objects.get().committed_tokens == spend.prompt_tokens + 50


# --- trouble, and asking again ---------------------------------------------------------------------------------------


def drip(handler):
    """One byte a moment, for as long as anybody listens."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while not handler.server.stopping.is_set():
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silence(handler):
    handler.server.stopping.wait()


TROUBLE = {
    "slow-loris": lambda text, nth: drip,
    "silence": lambda text, nth: silence,
    "half JSON": lambda text, nth: (200, "application/json", '{"choices": [{"mess', {}),
    "HTML": lambda text, nth: (200, "text/html", "<html>[[A]]</html>", {}),
    "10 MB": lambda text, nth: (200, "application/json", b'{"choices": "' + b"[[A]]" * 2_000_000 + b'"}', {}),
    "500": lambda text, nth: (500, "application/json", '{"error": {"message": "oh"}}', {}),
    "tool call": lambda text, nth: {"choices": [{"message": {"content": "[[A]]", "tool_calls": [{"id": "x"}]}}]},
    "refusal": lambda text, nth: "I'm sorry, I can't compare these.",
    "both labels": lambda text, nth: "[[A]] or [[B]]",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_with_one_item_is_bounded_kept_and_no_verdict_and_can_be_asked_again(
    name, project, server, endpoint, pairs
):
    rows = pairs(6)
    server.say = lambda text, nth: TROUBLE[name](text, nth) if "good 3" in text else honest(text)
    judge = llm(project, endpoint, order_policy="random")
    run = asked(judge, rows)  # whoever listened to the end would never come back
    assert Job.objects.get(group=run.group).state == "succeeded"
    bad = Verdict.objects.get(judge=judge, comparison=rows[3])
    assert bad.state in {"error", "unparseable"}
    assert bad.rationale
    assert states(judge)["ok"] == 5
    assert not Preference.objects.filter(comparison=rows[3]).exists()

    server.say = honest
    again = asked(judge, rows, retry_states=["error", "unparseable"], purpose="retry")
    n_asked = sum(server.asked.values())
    judging_run_enqueue(run=again)  # as after a kill: nothing is asked for a third time
    drain(["cpu"], worker_name="w")
    assert sum(server.asked.values()) == n_asked
    said = Verdict.objects.filter(judge=judge, comparison=rows[3]).order_by("sample")
    assert [(row.sample, row.state, row.outcome) for row in said] == [(0, bad.state, ""), (1, "ok", "first")]
    assert Verdict.objects.filter(judge=judge).count() == 7
    assert Preference.objects.get(comparison=rows[3]).outcome == "first"


@pytest.mark.slow
def test_a_busy_endpoint_is_waited_for_as_it_says(project, server, endpoint, pairs):
    busy = (429, "application/json", '{"error": {"message": "slow down"}}', {"Retry-After": "0.2"})
    server.say = lambda text, nth: busy if nth == 0 else honest(text)
    judge = llm(project, endpoint)
    asked(judge, pairs(4))
    assert states(judge) == {"ok": 8}
    assert set(server.asked.values()) == {2}


@pytest.mark.slow
def test_a_retry_run_leaves_what_is_well_alone(project, server, endpoint, pairs):
    server.say = honest
    rows = pairs(3)
    judge = llm(project, endpoint)
    asked(judge, rows[:2])
    n_asked = sum(server.asked.values())
    asked(judge, rows[:2], retry_states=["error"])
    assert sum(server.asked.values()) == n_asked
    with pytest.raises(BadJudge, match="only verdicts in the states"):
        asked(judge, rows, retry_states=["ok"])


# --- trials and attacks ----------------------------------------------------------------------------------------------
