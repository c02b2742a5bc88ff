"""A ranking is a label of each of its pairs: in majorities, reports, exports, and for who is asked what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.labels.models import Preference, Ranking, Verdict, Vote
from apps.labels.selectors import label_judge, labels_of, standing_votes
from apps.labels.services import preferences_derive
from apps.projects.services import label_policy_set
from apps.rankings.selectors import n_wanting
from apps.reports.services import agreement_report, leaderboard_report
from apps.samples.models import Comparison
from prefloop.records import ranked_pairs

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def asked(i, *answers, **more):
    return {"id": f"r{i}", "prompt": f"Prompt {i}", "completions": [{"text": text} for text in answers], **more}


def labels(project):
    """{(answer, answer): (outcome, source)} of the labels that stand."""
    rows = Preference.objects.filter(comparison__project=project)
    fields = ("comparison__first__text", "comparison__second__text", "outcome", "source")
    return {(first, second): (outcome, source) for first, second, outcome, source in rows.values_list(*fields)}


def test_a_persons_ranking_is_a_vote_on_each_of_its_pairs_ties_too(project, bring, write_lines):
    bring(write_lines([asked(1, "a", "b", "c", rankings=[{"rater": "ann", "groups": [[2], [0, 1]]}])]))
    assert labels(project) == {
        ("a", "b"): ("tie", "human"),
        ("a", "c"): ("second", "human"),
        ("b", "c"): ("second", "human"),
    }


def test_people_who_rank_and_people_who_vote_are_one_majority(project, bring, write_lines):
    ranked = [{"rater": "ann", "groups": [[0], [1], [2]]}, {"rater": "ben", "groups": [[0], [2], [1]]}]
    votes = [{"rater": "cy", "pair": [1, 2], "choice": 1}]
    bring(write_lines([asked(1, "a", "b", "c", rankings=ranked, votes=votes)]))
    assert labels(project)[("b", "c")] == ("second", "human")
    report = agreement_report(project=project)
    assert report["majority"] == {"first": 2, "second": 1, "tie": 0, "both_bad": 0, "none": 0}
    ann_ben = report["human_human"]["pairs"][0]
    assert (ann_ben["a"], ann_ben["b"], ann_ben["n"], ann_ben["agreement"]) == ("ann", "ben", 3, pytest.approx(2 / 3))
    assert report["human_human"]["n_unanimous"] == 2


def test_what_a_person_said_of_the_pair_itself_stands_over_their_ranking(project, bring, write_lines):
    record = asked(1, "a", "b", "c", rankings=[{"rater": "ann", "groups": [[0], [1], [2]]}])
    bring(write_lines([record | {"votes": [{"rater": "ann", "pair": [0, 1], "choice": 1}]}]))
    assert labels(project)[("a", "b")] == ("second", "human")
    assert standing_votes().filter(comparison__first__text="a", comparison__second__text="b").count() == 1


def test_a_judges_ranking_is_its_verdict_on_each_pair(project, bring, write_lines):
    truth = [{"rater": "ann", "pair": pair, "choice": 0} for pair in ([0, 1], [0, 2], [1, 2])]
    bring(write_lines([asked(1, "a", "b", "c", rankings=[{"judge": "gpt", "groups": [[0], [2], [1]]}], votes=truth)]))
    judge = label_judge(project)
    ids = list(Comparison.objects.values_list("id", flat=True))
    alone = {key: (label.outcome, label.source) for key, label in labels_of(comparison_ids=ids, judge=judge).items()}
    assert set(alone.values()) == {("first", "human")}
    (said,) = agreement_report(project=project)["judges"]
    assert (said["name"], said["n"], said["n_correct"]) == ("gpt", 3, 2)
    # nothing was shown first, and no order was asked
    assert said["first_slot_rate"] is None
    assert said["order_consistency"] is None
    assert {order: row["n"] for order, row in said["by_order"].items()} == {"01": 0, "10": 0}


def test_a_judges_ranking_labels_where_nobody_else_spoke_and_is_exported(project, bring, take, write_lines):
    bring(write_lines([asked(1, "a", "b", "c", rankings=[{"judge": "gpt", "groups": [[2], [0, 1]]}])]))
    assert labels(project) == {
        ("a", "b"): ("tie", "judge:gpt"),
        ("a", "c"): ("second", "judge:gpt"),
        ("b", "c"): ("second", "judge:gpt"),
    }
    rows = [json.loads(line) for line in take(project, "trl").splitlines()]
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("c", "a"), ("c", "b")]


def test_a_judge_asked_in_both_orders_that_also_ranks_keeps_both(project, bring, write_lines):
    both = [{"judge": "gpt", "pair": [0, 1], "order": order, "choice": 1} for order in ([0, 1], [1, 0])]
    bring(
        write_lines(
            [
                asked(1, "a", "b", verdicts=both),
                asked(2, "c", "d", rankings=[{"judge": "gpt", "groups": [[0], [1]]}]),
                asked(3, "e", "f", verdicts=both, rankings=[{"judge": "gpt", "groups": [[0], [1]]}]),
            ]
        )
    )
    assert {pair: label[0] for pair, label in labels(project).items()} == {
        ("a", "b"): "second",
        ("c", "d"): "first",
        ("e", "f"): "second",  # what was said of the pair itself
    }


def test_the_leaderboard_counts_rankings_as_games(project, bring, write_lines):
    answers = [{"text": text, "model": f"m-{text}"} for text in "abc"]
    ranked = {"rankings": [{"rater": "ann", "groups": [[0], [1], [2]]}]}
    bring(write_lines([asked(1) | {"completions": answers} | ranked]))
    board = leaderboard_report(project=project, source="human")
    assert board["n_used"] == 3
    assert {model["name"]: model["win_rate"] for model in board["models"]} == {"m-a": 1.0, "m-b": 0.5, "m-c": 0.0}


def test_who_has_ranked_is_one_of_the_votes_wanted(project, member, bring, write_lines):
    dora = member("dora", "annotator")
    label_policy_set(project=project, actor=None, votes_per_comparison=2, annotators_may_override=True)
    bring(write_lines([asked(1, "a", "b", "c", rankings=[{"rater": "ann-e", "groups": [[0], [1], [2]]}])]))
    assert n_wanting(project=project, user=dora, now=NOW) == 3
    label_policy_set(project=project, actor=None, votes_per_comparison=1, annotators_may_override=True)
    assert n_wanting(project=project, user=dora, now=NOW) == 0


@pytest.mark.parametrize("votes", [[], [{"rater": "ann", "pair": [0, 1], "choice": "skip"}]])
def test_a_record_without_a_label_leaves_all_its_pairs_to_people(project, bring, write_lines, votes):
    """A discarded ranking is a skip or nothing at all."""
    bring(write_lines([asked(1, "a", "b", "c", votes=votes)]))
    assert Comparison.objects.count() == 3
    assert not Preference.objects.exists()


def test_a_ranking_of_some_answers_makes_their_pairs_beside_those_named(project, bring, write_lines):
    votes = [{"rater": "ann", "pair": [0, 3], "choice": 0}]
    bring(write_lines([asked(1, *"abcd", votes=votes, rankings=[{"rater": "ben", "groups": [[2], [1]]}])]))
    assert set(labels(project)) == {("a", "d"), ("b", "c")}


@pytest.mark.slow
def test_an_export_gives_rankings_back_and_no_votes_of_theirs(project, other_project, bring, take, write_lines):
    rankings = [{"rater": "ann", "groups": [[2], [0, 1]]}, {"judge": "gpt", "groups": [[0], [1], [2]]}]
    bring(write_lines([asked(1, "a", "b", "c", rankings=rankings)]))
    (record,) = [json.loads(line) for line in take(project).splitlines()]
    assert record["rankings"] == rankings
    assert not {"votes", "verdicts"} & record.keys()
    path = write_lines([record], "again.jsonl")
    bring(path, project=other_project)
    assert take(other_project) == take(project)
    assert Vote.objects.filter(comparison__project=other_project).count() == 3
    assert bring(path).added == {}  # and here it is known
    assert Ranking.objects.count() == 4


def test_too_large_rankings_are_refused_by_line(bring, write_lines):
    from prefloop.records import RecordsError

    many = [{"rater": f"p{i}", "groups": [list(range(150))]} for i in range(10)]
    with pytest.raises(RecordsError, match="line 1: has rankings and ratings that come to 111,750 labels"):
        bring(write_lines([asked(1, *map(str, range(150)), rankings=many)]))


GROUPS = st.integers(2, 6).flatmap(
    lambda n: st.permutations(range(n)).flatmap(
        lambda order: st.lists(st.booleans(), min_size=n - 1, max_size=n - 1).map(
            lambda joined: _grouped(list(order), joined)
        )
    )
)


def _grouped(order, joined):
    groups = [[order[0]]]
    for answer, with_last in zip(order[1:], joined, strict=True):
        if with_last:
            groups[-1].append(answer)
        else:
            groups.append([answer])
    return [sorted(group) for group in groups]


@pytest.mark.slow
@given(GROUPS)
def test_a_ranking_of_n_answers_says_n_choose_two_things_that_agree_with_it(groups):
    place = {answer: at for at, group in enumerate(groups) for answer in group}
    said = dict(ranked_pairs(groups))
    assert set(said) == set(combinations(sorted(place), 2))
    for (i, j), outcome in said.items():
        assert outcome == {-1: "first", 0: "tie", 1: "second"}[(place[i] > place[j]) - (place[i] < place[j])]


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rankings=st.lists(st.tuples(st.sampled_from(["ann", "ben", "gpt"]), GROUPS), min_size=1, max_size=5))
def test_rankings_brought_in_again_elsewhere_give_equal_labels(rankings, make_project, bring, take, write_lines):
    said = [{"judge" if who == "gpt" else "rater": who, "groups": groups} for who, groups in rankings]
    votes = [{"rater": "ben", "pair": [0, 1], "choice": "both_bad"}]
    there, here = make_project(), make_project()
    bring(write_lines([asked(1, *"abcdef", rankings=said, votes=votes)]), project=there)
    out = write_lines([])
    out.write_bytes(take(there))
    bring(out, project=here)
    assert labels(here) == labels(there)
    assert take(here) == take(there)
    assert Verdict.objects.filter(judge__project=here).count() == Verdict.objects.filter(judge__project=there).count()
    assert preferences_derive(project=here, now=NOW) == 0
