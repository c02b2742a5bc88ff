"""Judges that judge by a named criterion: made so, kept so, and measured against what people said by it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apps.judging.ensembles import ensemble_options
from apps.judging.figures import judge_figures, truths
from apps.judging.selectors import judge_cards
from apps.judging.services import BadJudge, judge_create, judging_run_create
from apps.judging.watch import judge_watch
from apps.labels.models import Judge
from apps.labels.services import label_judge_set
from apps.projects.services import guideline_add
from prefloop.criteria import BadCriterion, Criterion

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HONEST = Criterion("honest", "Which answer is true?")


@pytest.fixture
def asked(project):
    guideline_add(project=project, text="Read both.", actor=None, criteria=[HONEST])
    return project


def imported(project, name, criterion_name=None):
    return judge_create(project=project, name=name, kind="imported", criterion_name=criterion_name)


def test_every_version_judges_by_the_same_criterion(asked):
    first = imported(asked, "j", "honest")
    assert (imported(asked, "j").criterion_name, first.version) == ("honest", 1)
    assert imported(asked, "j", "honest").version == 3
    with pytest.raises(BadJudge, match="judges by the criterion 'honest': give one that judges by another a name"):
        imported(asked, "j", "")
    imported(asked, "plain")
    with pytest.raises(BadJudge, match="judges by no named criterion"):
        imported(asked, "plain", "honest")
    with pytest.raises(BadCriterion):
        imported(asked, "k", "Very Honest")
    assert not Judge.objects.filter(name="k").exists()
    imported(asked, "k", "short")
    asked.refresh_from_db()
    assert set(asked.known_criteria) == {"honest", "short"}


@pytest.mark.slow
def test_figures_are_by_what_people_said_by_its_criterion(asked, make_comparison, make_vote, make_verdict):
    by = {name: imported(asked, name or "plain", name) for name in ("honest", "")}
    for n in range(4):
        pair = make_comparison(asked, held_out=n == 0, gold="first" if n == 0 else "")
        make_vote(pair, "second", rater="ann", criterion="honest")
        make_vote(pair, "first", rater="ann")
        for name, judge in by.items():
            make_verdict(pair, "second" if name else "first", judge=judge)
    figures = judge_figures(asked)
    assert [figures[judge.pk].agreement.rate for judge in by.values()] == [1.0, 1.0]
    assert (figures[by["honest"].pk].truth, figures[by[""].pk].truth) == ("people", "both")
    assert not truths(asked, "honest")[0]


@pytest.mark.slow
def test_each_criterion_has_a_label_judge_and_each_is_watched(asked, bob, make_comparison, make_vote, make_verdict):
    honest, plain = imported(asked, "h", "honest"), imported(asked, "p")
    for judge in (honest, plain):
        label_judge_set(judge=judge, by=bob)
    assert [(card.judge.name, card.is_label_judge) for card in judge_cards(asked)] == [("p", True), ("h", True)]
    for _ in range(30):
        pair = make_comparison(asked)
        make_vote(pair, "second", rater="ann", criterion="honest")
        make_verdict(pair, "first", judge=honest)
    asked.judge_bound = 0.6
    assert judge_watch(project=asked, now=T0)
    assert [row.below_since is None for row in (Judge.objects.get(pk=pk) for pk in (honest.pk, plain.pk))] == [
        False,
        True,
    ]


def test_no_gold_is_mixed_in_for_it_and_an_ensemble_judges_by_one(asked, make_comparison, make_judge):
    asked.gold_share = 50
    asked.save()
    make_comparison(asked, held_out=True, gold="first")
    pair = make_comparison(asked)
    by = [make_judge(asked, f"w{name}", kind="rules", criterion_name=name) for name in ("honest", "")]
    runs = [judging_run_create(project=asked, judge=judge, comparison_ids=[pair.pk]) for judge in by]
    assert [len(run.comparison_ids) for run in runs] == [1, 2]
    with pytest.raises(BadJudge, match="judge by one criterion"):
        ensemble_options(project=asked, members=by, rule="majority")


@pytest.mark.slow
def test_the_form_offers_them_and_takes_the_question_where_nothing_else_is_said(asked, erin, client_for, settings):
    settings.ENDPOINT_ALLOW = ["127.0.0.1:9"]
    client = client_for(erin)
    at = f"/p/{asked.slug}/judges/new/?kind=llm"
    page = client.get(at).content.decode()
    assert '<option value="honest">honest</option>' in page
    body = {
        "name": "truth", "criterion_name": "honest", "criterion": asked.criterion, "mode": "text",
        "order_policy": "both_agree", "max_tokens": "64", "endpoint_name": "local", "base_url": "http://127.0.0.1:9/v1",
        "model": "m", "template": "",
    }  # fmt: skip
    reply = client.post(at, body)
    assert reply.status_code == 302, reply.context["form"].errors
    made = Judge.objects.get(name="truth")
    assert (made.criterion_name, made.criterion) == ("honest", "Which answer is true?")
    shown = client.get(f"/p/{asked.slug}/judges/{made.pk}/").content.decode()
    assert "The criterion that it judges by" in shown
    assert 'name="criterion_name"' not in client.get(f"/p/{asked.slug}/judges/{made.pk}/edit/").content.decode()
    again = client.post(at, body | {"name": "odd", "criterion_name": "funny", "endpoint_name": "o"})
    assert again.status_code == 400


def test_a_project_without_named_criteria_is_asked_for_none(project, erin, client_for):
    assert (
        'name="criterion_name"' not in client_for(erin).get(f"/p/{project.slug}/judges/new/?kind=llm").content.decode()
    )


def test_programs_name_it_when_they_make_a_judge(asked, erin, api_for):
    api = api_for(erin)
    at = "/api/v1/projects/{}/judges/"
    body = {"kind": "rules", "name": "short", "rules": '[{"check": "words", "at_most": 9}]', "count": "share"}
    body |= {"criterion_name": "honest"}
    made = api.post(at.format(asked.slug), body, "json")
    assert made.status_code == 201, made.json()
    assert made.json()["criterion_name"] == "honest"
    refused = api.post(at.format(asked.slug), body | {"name": "odd", "criterion_name": "funny"}, "json")
    assert refused.status_code == 400
    assert "criterion_name" in str(refused.json())
    assert not Judge.objects.filter(name="odd").exists()
    again = api.post(f"{at.format(asked.slug)}{made.json()['id']}/versions/", {"rules": body["rules"]}, "json")
    assert (again.json()["version"], again.json()["criterion_name"]) == (2, "honest")
