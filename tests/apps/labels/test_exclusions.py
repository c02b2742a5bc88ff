"""A person who is excluded: what they said stays and does not count, in every place that a label is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.models import AuditEvent
from apps.jobs.models import Job
from apps.labels import exclusions
from apps.labels.columns import content_version, pairs_of, votes_of
from apps.labels.derive import derive
from apps.labels.exclusions import exclusion_create, exclusion_effect, exclusion_lift
from apps.labels.models import Preference, Vote
from apps.labels.selectors import decision_of, labels_of, majorities
from apps.labels.services import preferences_derive
from apps.labels.types import VoteEvent

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def crew(project, make_comparison, make_vote, make_judge, make_verdict):
    """Four comparisons: mel is outvoted, decides a majority, votes alone, and votes where a judge has spoken."""
    project.label_judge = "gpt"
    project.save()
    judge = make_judge(project, "gpt", order_policy="random")
    votes = [
        {"ann": "first", "ben": "first", "mel": "second"},
        {"ann": "first", "ben": "second", "mel": "second"},
        {"mel": "tie"},
        {"mel": "second"},
    ]
    made = []
    for day, said in enumerate(votes):
        comparison = make_comparison(project)
        for rater, choice in said.items():
            make_vote(comparison, choice, rater=rater, at=T0 + day * DAY)
        made.append(comparison)
    make_verdict(made[3], "first", judge=judge, p_first=0.9)
    preferences_derive(project=project, now=T0)
    return made


def outcomes(project, crew):
    stored = dict(Preference.objects.values_list("comparison_id", "outcome"))
    fresh = labels_of(comparison_ids=[c.pk for c in crew], judge=project.judges.get())
    assert stored == {key: label.outcome for key, label in fresh.items()}
    return [stored.get(c.pk) for c in crew]


def exclude(project, by, rater="mel", since=None):
    return exclusion_create(project=project, rater=rater, since=since, reason="guesses", by=by, now=T0)


@pytest.mark.slow
def test_what_an_excluded_person_said_stays_and_does_not_count(project, crew, bob):
    before = content_version(project)
    assert outcomes(project, crew) == ["first", "second", "tie", "second"]
    exclude(project, bob)
    assert outcomes(project, crew) == ["first", None, None, "first"]  # split; nobody; the judge
    assert Vote.objects.filter(rater="mel").count() == 4
    assert majorities([c.pk for c in crew]) == {crew[0].pk: "first"}
    votes = votes_of(project, pairs_of(project))
    assert (len(votes.item), votes.names) == (4, ("ann", "ben"))
    assert content_version(project) != before


@pytest.mark.slow
def test_undoing_an_exclusion_brings_every_label_back(project, crew, bob, alice):
    rows = list(
        Preference.objects.order_by("pk").values_list("comparison", "outcome", "p_first", "source", "label_ids")
    )
    before = content_version(project)
    made = exclude(project, bob)
    exclusion_lift(exclusion=made, by=alice, now=T0 + DAY)
    again = Preference.objects.order_by("comparison").values_list(
        "comparison", "outcome", "p_first", "source", "label_ids"
    )
    assert list(again) == sorted(rows)
    assert content_version(project) != before  # nobody is shown a report of the time between
    made.refresh_from_db()
    assert (made.by, made.lifted_by, made.lifted_at) == (bob, alice, T0 + DAY)
    said = list(AuditEvent.objects.order_by("id").values_list("verb", "target", "actor"))
    target = f"exclusion:{made.pk}"
    assert said == [("annotator.exclude", target, bob.pk), ("annotator.include", target, alice.pk)]
    with pytest.raises(exclusions.NotExcluded):
        exclusion_lift(exclusion=made, by=alice, now=T0)


@pytest.mark.slow
def test_from_a_date_only_what_was_said_then_or_later_is_left_out(project, crew, bob):
    exclude(project, bob, since=T0 + 2 * DAY)
    assert outcomes(project, crew) == ["first", "second", None, "first"]


@pytest.mark.slow
def test_what_they_say_while_excluded_does_not_count_either(project, crew, bob, make_vote):
    exclude(project, bob)
    make_vote(crew[1], "first", rater="cat", at=T0 + DAY)
    make_vote(crew[0], "second", rater="mel", supersedes=Vote.objects.get(comparison=crew[0], rater="mel"))
    preferences_derive(project=project, now=T0)
    assert outcomes(project, crew) == ["first", "first", None, "first"]


@pytest.mark.slow
def test_the_change_is_told_before_it_is_made_and_is_the_one_that_comes(project, crew, bob):
    told = exclusion_effect(project=project, rater="mel", since=None)
    assert (told.n_votes, told.n_decisions, told.n_comparisons) == (4, 0, 4)
    assert (told.n_changed, told.n_flipped, told.n_to_judge, told.n_lost) == (3, 1, 1, 2)
    assert (told.n_pairs, told.n_pairs_after, told.n_labels_after) == (4, 2, 1)
    assert outcomes(project, crew) == ["first", "second", "tie", "second"]  # telling changes nothing
    exclude(project, bob)
    after = exclusion_effect(project=project, rater="mel", since=None)
    assert (after.n_votes, after.n_changed, after.n_pairs) == (0, 0, 0)
    part = exclusion_effect(project=project, rater="ann", since=T0 + DAY)
    assert (part.n_votes, part.n_changed, part.n_comparisons) == (1, 1, 1)


@pytest.mark.slow
def test_their_decisions_in_review_do_not_count_either(project, crew, bob, erin):
    from apps.rankings.services import override_create

    judge = project.judges.get()
    override_create(comparison=crew[3], judge=judge, user=erin, kind="override", choice="tie", now=T0)
    assert outcomes(project, crew)[3] == "tie"
    exclude(project, bob, rater="erin")
    assert outcomes(project, crew)[3] == "second"
    assert decision_of(crew[3]) is None  # so Review asks for it again


@pytest.mark.slow
def test_bad_input_changes_nothing(project, crew, bob, other_project):
    with pytest.raises(exclusions.NobodyThere, match="'nobody'"):
        exclude(project, bob, rater="nobody")
    with pytest.raises(exclusions.NobodyThere):
        exclude(other_project, bob)
    exclude(project, bob)
    with pytest.raises(exclusions.AlreadyExcluded):
        exclude(project, bob, since=T0)
    assert AuditEvent.objects.count() == 1


@pytest.mark.slow
def test_many_labels_are_derived_by_a_job(project, crew, bob, monkeypatch):
    monkeypatch.setattr(exclusions, "AT_ONCE", 3)
    exclude(project, bob)
    job = Job.objects.get(kind="labels.derive")
    assert sorted(job.payload["comparison_ids"]) == [c.pk for c in crew]
    assert labels_of(comparison_ids=[crew[1].pk], judge=None) == {}  # training sets need not wait for it


@pytest.mark.slow
def test_reports_exports_and_preferences_agree_on_who_counts(project, crew, bob):
    from apps.exchange.selectors import preference_rows
    from apps.labels.as_records import said_of
    from apps.reports.services import agreement_report

    exclude(project, bob)
    rows = list(preference_rows(project, labels="human"))
    assert len(rows) == 1
    report = agreement_report(project=project)
    assert [person["name"] for person in report["raters"] if person["kind"] == "human"] == ["ann", "ben"]
    prompts = [c.prompt_id for c in crew]
    pairs = {c.pk: (c.prompt_id, (0, 1)) for c in crew}
    named = {"place": {}, "pairs": pairs, "names": {j.pk: j.name for j in project.judges.all()}}
    said = said_of(prompts, **named, taken_back=False)
    assert {vote.rater for one in said.values() for vote in one["votes"]} == {"ann", "ben"}
    every = said_of(prompts, **named, taken_back=True)  # an import compares a record with all that was ever said
    assert {vote.rater for one in every.values() for vote in one["votes"]} == {"ann", "ben", "mel"}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["first", "second", "tie", "skip"]), st.booleans())))
def test_excluding_gives_the_label_that_there_would_be_without_the_person(said):
    votes = [VoteEvent(i, who, choice, T0, None, adjudication) for i, (who, choice, adjudication) in enumerate(said)]
    marked = [VoteEvent(v.id, v.rater, v.choice, v.at, None, v.adjudication, v.rater == "a") for v in votes]
    without = [vote for vote in votes if vote.rater != "a"]
    assert derive(votes=marked, overrides=(), judge=None) == derive(votes=without, overrides=(), judge=None)
