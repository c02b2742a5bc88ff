"""The report on ratings: each item by source and person, the ratings behind a number, and who was told of them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import krippendorff
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from apps.labels.exclusions import exclusion_create
from apps.labels.models import Ranking, Rating, Vote
from apps.projects.services import guideline_add
from apps.reports.ratings import AGAINST, AGREE, EQUAL, TOTAL, Asked, Behind, NoSuchItem, Ratings, report_of
from apps.samples.models import AnswerExposure, Exposure
from prefloop.rubrics import rubric_read, rubric_stored, total

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
RUBRIC = rubric_read("correct: Is it true?\npolite (yes/no): Does it thank?")
# of four prompts, each with an answer of `old` and one of `new`: what ann, ben and cat say of correct and polite
SAID = {
    "ann": [((2, 0), (5, 1)), ((2, 1), (4, 1)), ((3, 0), (5, 1)), ((3, 1), (3, 1))],
    "ben": [((1, 0), (4, 1)), ((1, 1), (3, 1)), ((2, 0), (4, 1)), None],
    "cat": [((2, 0), (5, 1)), None, None, None],
}


def rating(answer, rater, correct, polite, *, rubric=RUBRIC, guideline="v1", **fields):
    values = {"correct": correct, "polite": polite}
    return Rating.objects.create(
        completion=answer,
        rater=rater,
        choice="rated",
        rubric=rubric_stored(rubric),
        values=values,
        total=total(rubric, values),
        guideline=guideline,
        at=T0,
        **fields,
    )


@pytest.fixture
def pairs(project, make_comparison):
    guideline_add(project=project, text="Rate.", actor=None, task="rating", rubric=RUBRIC)
    project.refresh_from_db()
    return [make_comparison(project, (f"Old {n}.", f"New {n}."), models=("old", "new")) for n in range(4)]


@pytest.fixture
def rated(pairs):
    return {
        (rater, n, side): rating(getattr(pairs[n], side), rater, *values)
        for rater, said in SAID.items()
        for n, both in enumerate(said)
        if both
        for side, values in zip(("first", "second"), both, strict=True)
    }


def test_each_item_by_source_person_and_value(project, rated):
    report = report_of(project)
    assert (report["n"], report["n_answers"], report["n_prompts"], report["n_people"]) == (16, 8, 4, 3)
    correct, polite = report["items"]
    assert (correct["item"], correct["kind"], correct["question"]) == ("correct", "1-5", "Is it true?")
    assert correct["distribution"] == {"1": 2, "2": 4, "3": 4, "4": 3, "5": 3}
    sources = {one["name"]: one for one in correct["sources"]}
    assert sources["new"]["mean"] == pytest.approx((14 / 3 + 3.5 + 4.5 + 3) / 4)
    assert (sources["new"]["n"], sources["new"]["n_answers"]) == (8, 4)
    low, high = sources["new"]["ci95"]
    assert 1 <= low < sources["new"]["mean"] < high <= 5
    assert polite["distribution"] == {"0": 5, "1": 11}
    assert polite["alpha"]["level"] == "nominal"
    assert polite["alpha"]["value"] == 1
    assert polite["alpha"]["ci95"][0] < 0.5, "three prompts do not make it sure"
    assert correct["alpha"]["level"] == "ordinal"
    assert (correct["alpha"]["n"], correct["alpha"]["n_answers"], correct["alpha"]["n_prompts"]) == (14, 6, 3)
    ben = next(one for one in correct["people"] if one["name"] == "ben")
    assert ben["lean"] == pytest.approx(-1)
    assert report["total"]["distribution"] == {}
    told = report["total"]["alpha"]
    assert (told["level"], told["n"], told["n_answers"], told["n_prompts"]) == ("interval", 14, 6, 3)
    by_person = {name: {} for name in SAID}
    for row in Rating.objects.all():
        by_person[row.rater][row.completion_id] = row.total
    answers = sorted({answer for said in by_person.values() for answer in said})
    table = [[said.get(answer, np.nan) for answer in answers] for said in by_person.values()]
    assert told["value"] == pytest.approx(krippendorff.alpha(table, level_of_measurement="interval"))
    assert told["ci95"][0] < told["value"] < told["ci95"][1]
    out = io.StringIO()
    call_command("report_ratings", project=project.slug, stdout=out)
    assert f"people agree with α {told['value']:.2f}" in out.getvalue().split("Total of all items")[1]


def test_only_what_people_said_of_pairs_themselves_is_held_against_ratings(project, rated, pairs, make_vote):
    for pair, choices in zip(pairs, (["second"], ["first", "first", "second"], ["tie"], ["first"]), strict=True):
        for n, choice in enumerate(choices):
            make_vote(pair, choice, rater=f"voter-{n}")
    groups = [[pairs[2].second_id], [pairs[2].first_id]]
    later = rated["ann", 2, "second"]
    ranking = Ranking.objects.create(prompt=pairs[2].prompt, rater="ann", groups=groups, rating=later)
    Vote.objects.create(comparison=pairs[2], rater="ann", choice="second", ranking=ranking)
    found = Ratings(project, Asked())
    correct = report_of(project)["items"][0]["pairs"]
    assert (correct["n"], correct["k"], correct["n_against"], correct["n_rated_equal"], correct["n_tied"]) == (
        2, 1, 1, 1, 1
    )  # fmt: skip
    assert [pair.comparison for pair in found.pairs_behind("correct", AGREE)] == [pairs[0].pk]
    assert [pair.comparison for pair in found.pairs_behind("correct", AGAINST)] == [pairs[1].pk]
    assert [pair.comparison for pair in found.pairs_behind("correct", EQUAL)] == [pairs[3].pk]
    assert report_of(project, Asked(criterion="x"))["items"][0]["pairs"]["n"] == 0


def test_the_ratings_behind_a_number(project, rated):
    found = Ratings(project, Asked())
    fives = {row.pk for row in rated.values() if row.values["correct"] == 5}
    assert set(found.behind(Behind("correct", value=5))) == fives
    assert found.behind(Behind("correct", rater="cat")) == [
        rated["cat", 0, "second"].pk,
        rated["cat", 0, "first"].pk,
    ]
    assert len(found.behind(Behind(TOTAL, source="old"))) == 8
    assert len(found.behind(Behind("polite", shared=True))) == 14
    with pytest.raises(NoSuchItem):
        found.behind(Behind("warm"))


def test_what_does_not_count_is_not_counted(project, rated, bob):
    assert report_of(project, Asked(guideline="v2"))["n"] == 0
    exclusion_create(project=project, rater="cat", since=None, reason="", by=bob, now=T0)
    assert report_of(project)["n"] == 14
    last = rated["ann", 0, "first"]
    Rating.objects.create(
        completion=last.completion, rater="ann", choice="withdrawn", supersedes=last, at=T0, guideline="v1"
    )
    assert report_of(project)["n"] == 13, "also where a report was made before"


def test_an_item_that_changed_its_kind_is_two(project, rated, pairs):
    other = rubric_read("correct (yes/no): Is it true?\npolite (yes/no): Does it say thanks?")
    rating(pairs[3].second, "dan", 1, 1, rubric=other, guideline="v2")
    report = report_of(project)
    assert {one["item"]: (one["kind"], one["n"], one["n_wordings"]) for one in report["items"]} == {
        "correct (1-5)": ("1-5", 16, 1),
        "correct (yes/no)": ("yes/no", 1, 1),
        "polite": ("yes/no", 17, 2),
    }


def test_the_command_says_what_the_report_says(project, rated, capsys):
    call_command("report_ratings", project=project.slug)
    out = capsys.readouterr().out
    assert "3 people rated 8 answers." in out
    assert "polite: 75.0" in out
    call_command("report_ratings", project=project.slug, json=True)
    assert '"n_people": 3' in capsys.readouterr().out
    with pytest.raises(CommandError, match="v9"):
        call_command("report_ratings", project=project.slug, guideline="v9")


@pytest.mark.slow
def test_page_files_and_api_say_the_same(client, project, bob, ann, api_for, rated, pairs, make_vote):
    make_vote(pairs[0], "second", rater="voter")
    client.force_login(bob)
    url = f"/p/{project.slug}/reports/ratings"
    page = client.get(f"{url}/").content.decode()
    assert "3 people rated 8 answers." in page
    assert not Exposure.objects.exists()
    assert not AnswerExposure.objects.exists()
    for query in ("item=polite", "item=:total", "item=correct&of=source&source=new", "of=shared", "of=rater&rater=ann"):
        assert client.get(f"{url}/?{query}").status_code == 200
    assert client.get(f"{url}/?item=warm").status_code == 404
    AnswerExposure.objects.all().delete()
    Exposure.objects.all().delete()
    shown = client.get(f"{url}/?item=correct&of=value&value=1").content.decode()
    assert "Ratings behind this number" in shown
    told = set(AnswerExposure.objects.values_list("completion", flat=True))
    assert told == {pairs[0].first_id, pairs[1].first_id}
    assert "Pairs where ratings and votes agree" in client.get(f"{url}/?item=correct&pairs=agree").content.decode()
    assert Exposure.objects.filter(comparison=pairs[0]).exists()
    api = api_for(bob)
    at = f"/api/v1/projects/{project.slug}/reports/ratings/"
    got = api.get(at, {"list": "ratings", "item": "correct", "value": 1}).json()
    assert {one["rater"] for one in got["list"]} == {"ben"}
    assert api.get(at, {"list": "agree", "item": "correct"}).json()["list"] == [
        {"comparison": pairs[0].pk, "mean_first": pytest.approx(5 / 3), "mean_second": pytest.approx(14 / 3)}
    ]
    whole = client.get(f"{url}.json").json()
    assert whole["items"] == got["items"]
    rows = dict(csv.reader(io.StringIO(client.get(f"{url}.csv").content.decode())))
    assert rows["items / correct / distribution / 5"] == "3"
    assert api.get(at, {"guideline": "v9"}).status_code == 400
    assert api_for(ann).get(at).status_code == 404


def test_without_a_rating_the_page_says_what_to_do(project, bob, client_for):
    page = client_for(bob).get(f"/p/{project.slug}/reports/ratings/").content.decode()
    assert "No ratings yet" in page
