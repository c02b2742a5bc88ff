"""Ratings in files: records keep them all; ratings and judgements to learn are exported, and readers are told."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from apps.exchange.exports import BadExport, export_lines
from apps.exchange.files import csv_lines
from apps.exchange.services import import_file
from apps.labels.exclusions import exclusion_create
from apps.labels.models import GoldItem, Preference, Ranking, Rating
from apps.labels.ratings import standing_ratings
from apps.labels.review_counts import review_differences
from apps.labels.selectors import standing_votes
from apps.projects.models import Project
from apps.projects.services import guideline_add
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong
from apps.ratings import services
from apps.ratings.models import RatingSeat
from apps.samples.models import Comparison
from apps.training.rounds.self_rewarding import n_judged, stored_demonstrations
from prefloop.judging.parse import parse_score
from prefloop.judging.rated import judgement_of, reasons_of, score_of_total
from prefloop.records import InvalidRecord, RecordsError, parse_record, record_to_dict
from prefloop.rubrics import rubric_read

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
RUBRIC = [
    {"name": "correct", "question": "Is it true?", "kind": "1-5"},
    {"name": "polite", "question": "Does it thank?", "kind": "yes/no", "weight": 2.0},
]
RATED = {"rater": "ina", "completion": 0, "rubric": RUBRIC, "values": {"correct": 4, "polite": 1}}


def record(**changed):
    said = [
        RATED | {"at": "2026-01-05T10:00:00Z", "seconds": 8.5, "guideline": "v1", "reason": "Warm, and true."},
        RATED | {"completion": 1, "values": {"correct": 2, "polite": 1}},
        {"rater": "ina", "completion": 2, "choice": "skip"},
        RATED | {"rater": "otto", "completion": 1, "values": {"correct": 5, "polite": 1}},
    ]
    texts = ("Dear Maria, thank you.", "Hey, thanks.", "Flowers.")
    return {
        "id": "r1",
        "prompt": "Thank Maria.",
        "completions": [{"text": text, "model": f"m{n}"} for n, text in enumerate(texts)],
        "ratings": said,
    } | changed


@pytest.fixture(autouse=True)
def own_var(settings, tmp_path):
    """Locks of a test lie in its own folder."""
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()


def bring(project, tmp_path, *records, name="r.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return import_file(path=path, format="records", project=project, name=name, created_by=None, now=timezone.now())


def lines(project, format, **how):
    return [json.loads(line) for line in export_lines(project=project, format=format, **how)]


@pytest.mark.parametrize(
    ("rating", "why"),
    [
        ({"completion": 7}, "ratings\\[0\\].completion is not one of"),
        ({"choice": "best"}, "ratings\\[0\\].choice is not one of"),
        ({"choice": "skip"}, "has values, but its choice is 'skip'"),
        ({"rubric": []}, "a rubric is a list of items"),
        ({"rubric": [{"name": "x"}]}, "needs a name and a question"),
        ({"rubric": [RUBRIC[0] | {"kind": ["1-5"]}]}, "is neither '1-5' nor 'yes/no'"),
        ({"rubric": [RUBRIC[0] | {"weight": 10**400}]}, "must be a number above 0"),
        ({"values": {"correct": 9, "polite": 1}}, "from 1 to 5"),
        ({"values": {"correct": 4}}, "'polite' has no value"),
        ({"values": [4, 1]}, "'correct' has no value"),
        ({"rater": ""}, "ratings\\[0\\].rater is empty"),
        ({"stars": 3}, "unknown key 'stars'"),
    ],
)
def test_a_rating_that_makes_no_sense_is_refused_with_its_key(rating, why):
    with pytest.raises(InvalidRecord, match=why):
        parse_record(record(ratings=[RATED | rating]))


@pytest.mark.parametrize("rubric", ["polite: Is it?", ["no question"], [{"name": "a", "question": "b", "kind": "1-9"}]])
def test_a_malformed_rubric_of_a_prompt_is_refused_on_import(project, tmp_path, rubric):
    with pytest.raises(RecordsError, match=r"line 2: metadata\.rubric: ") as error:
        bring(project, tmp_path, record(), record(id="r2", metadata={"rubric": rubric}))
    assert "\n" not in str(error.value)
    assert not Rating.objects.exists(), "nothing is half done"


def test_records_keep_ratings_without_loss(project, tmp_path):
    given = record()
    assert record_to_dict(parse_record(record_to_dict(parse_record(given)))) == record_to_dict(parse_record(given))
    bring(project, tmp_path, given)
    assert lines(project, "records") == [json.loads(json.dumps(record_to_dict(parse_record(given))))]


def test_imported_ratings_are_labels_of_pairs_and_importing_them_again_adds_nothing(project, tmp_path):
    bring(project, tmp_path, record())
    (vote,) = standing_votes()
    assert (vote.rater, vote.choice, vote.ranking.rating.rater) == ("ina", "first", "ina")
    assert Preference.objects.get(comparison=vote.comparison).outcome == "first"
    before = (Rating.objects.count(), Ranking.objects.count())
    bring(project, tmp_path, record())
    assert (Rating.objects.count(), Ranking.objects.count()) == before == (4, 1)
    more = record()
    more["ratings"].append(RATED | {"rater": "otto", "completion": 0, "values": {"correct": 1, "polite": 0}})
    batch = bring(project, tmp_path, more)
    assert batch.added["ratings"] == 1
    assert Rating.objects.filter(rater="otto").count() == 2


def said_of_pairs(project):
    votes = standing_votes().select_related("comparison").filter(comparison__project=project)
    return {(vote.rater, vote.comparison.first.index, vote.comparison.second.index): vote.choice for vote in votes}


@pytest.mark.parametrize(
    "later",
    [
        [RATED | {"rater": "otto", "values": {"correct": 1, "polite": 0}}],
        [RATED | {"completion": 2, "values": {"correct": 5, "polite": 1}}],
        [RATED | {"values": {"correct": 1, "polite": 0}}],
        [RATED | {"completion": 1, "values": {"correct": 4, "polite": 1}}],
        [{"rater": "ina", "completion": 0, "choice": "skip"}],
        [RATED | {"rubric": RUBRIC[:1], "values": {"correct": 3}}],
        [RATED | {"rubric": RUBRIC[:1], "values": {"correct": 3}}, RATED],
    ],
)
def test_ratings_that_come_later_compare_their_answers_as_those_that_come_together(project, later, tmp_path):
    whole = record()
    whole["ratings"] += later
    together = Project.objects.create(name="Together", slug="together")
    bring(together, tmp_path, whole)
    bring(project, tmp_path, record())
    bring(project, tmp_path, whole)
    assert said_of_pairs(project) == said_of_pairs(together)
    labels = [
        sorted(Preference.objects.filter(comparison__project=one).values_list("outcome")) for one in (project, together)
    ]
    assert labels[0] == labels[1]
    assert lines(project, "records") == lines(together, "records")


def test_ratings_that_come_later_leave_what_was_said_of_the_pair_itself(project, tmp_path):
    given = record(rankings=[{"rater": "ina", "groups": [[1], [0], [2]]}])
    bring(project, tmp_path, given)
    assert said_of_pairs(project)["ina", 0, 1] == "second"
    given["ratings"].append(RATED | {"values": {"correct": 5, "polite": 1}})
    bring(project, tmp_path, given)
    assert said_of_pairs(project)["ina", 0, 1] == "second"


def test_a_later_rating_of_one_person_in_a_file_takes_the_place_of_the_earlier(project, tmp_path):
    said = [RATED, RATED | {"values": {"correct": 1, "polite": 0}}, RATED | {"completion": 1}]
    bring(project, tmp_path, record(ratings=said))
    assert (Rating.objects.count(), standing_ratings().count()) == (3, 2)
    assert [vote.choice for vote in standing_votes()] == ["second"]
    assert len(lines(project, "records")[0]["ratings"]) == 3


def test_new_answers_are_asked_after_an_import_and_those_that_are_rated_are_not(project, tmp_path):
    guideline_add(project=project, text="Warm.", actor=None, task="rating", rubric=rubric_read("warm: Is it?"))
    bring(project, tmp_path, record())
    texts = set(RatingSeat.objects.values_list("completion__text", flat=True))
    assert texts == {"Flowers."}, "a skip is no rating; the others have theirs"
    more = record()
    more["ratings"].append(RATED | {"completion": 2})
    bring(project, tmp_path, more)
    assert not RatingSeat.objects.exists(), "now it has one, too"


@pytest.fixture
def rated(project, make_prompt, make_completion, ann):
    """Two prompts with an answer each and one with two, all rated by ann."""
    prompts = [make_prompt(project), make_prompt(project, split="eval"), make_prompt(project)]
    for prompt, text in zip((*prompts, prompts[2]), ("One.", "Two.", "Three.", "Four."), strict=True):
        make_completion(prompt, text, model_name="m")
    rubric = rubric_read("correct: Is it true?\npolite (yes/no, weight 2): Does it thank?")
    guideline_add(project=project, text="Warm.", actor=None, task="rating", rubric=rubric)
    project.refresh_from_db()
    said = {"One.": (4, 1), "Two.": (3, 1), "Three.": (5, 1), "Four.": (1, 0)}
    for seat in services.seats_lease(project=project, user=ann, n=20, now=T0):
        correct, polite = said[seat.completion.text]
        values = {"correct": correct, "polite": polite}
        given = services.Rated(values=values, reason=f"Why {seat.completion.text}\nScore: 9")
        services.rating_create(seat=seat, said=given, now=T0)
    return project


def test_a_line_for_each_rating_and_as_a_table(rated):
    found = {row["answer"]: row for row in lines(rated, "ratings")}
    assert len(found) == 4
    row = found["One."]
    assert (row["rater"], row["values"], row["model"]) == ("ann", {"correct": 4, "polite": 1}, "m")
    assert row["rubric"][1] == {"name": "polite", "question": "Does it thank?", "kind": "yes/no", "weight": 2.0}
    assert row["total"] == pytest.approx((0.75 + 2) / 3)
    table = b"".join(csv_lines(export_lines(project=rated, format="ratings"))).decode()
    (head, *rows) = csv.DictReader(io.StringIO(table)), *[]
    assert [json.loads(one["values"])["correct"] for one in head] == [
        row["values"]["correct"] for row in found.values()
    ]
    assert rows == []


def test_judgements_to_learn_have_the_form_that_the_recipe_learns_from(rated):
    found = {row["answer"]: row for row in lines(rated, "eft")}
    assert found.keys() == {"One.", "Three.", "Four."}, "held-out prompts are never trained on"
    row = found["One."]
    assert (row["score"], row["reason"]) == (5, "correct: 4 of 5. polite: yes.\nWhy One.")
    assert row["text"] == "correct: 4 of 5. polite: yes.\nWhy One.\nScore: 5"
    for one in found.values():
        assert parse_score(one["text"]).value == one["score"]
    assert n_judged(rated) == 3
    learnt = stored_demonstrations(rated, lambda prompt, answer: f"{prompt}|{answer}", 100, seed=0)
    assert {(one.prompt.split("|")[1], one.score, one.text) for one in learnt} == {
        (answer, found[answer]["score"], found[answer]["text"]) for answer in ("Three.", "Four.")
    }, "both answers of a labelled pair, whose scores rank them as the label does"


@pytest.mark.parametrize(("total", "score"), [(0, 0), (0.09, 0), (0.1, 1), (0.5, 3), (0.89, 4), (0.9, 5), (1, 5)])
def test_a_total_becomes_a_score_from_0_to_5(total, score):
    assert score_of_total(total) == score


def test_no_line_of_a_reason_is_read_as_the_score():
    reasons = reasons_of(rubric_read("a: b"), {"a": 5}, "Fine.\n score: 0\nScore: 1")
    assert (reasons, parse_score(judgement_of(reasons, 5)).value) == ("a: 5 of 5.\nFine.", 5)


def test_whoever_reads_an_export_of_ratings_does_not_rate_these_answers_blind(rated, bob, ann):
    rated.votes_per_comparison = 2
    rated.save()
    services.seats_settle(project=rated)
    assert len(services.seats_lease(project=rated, user=bob, n=1, now=T0)) == 1
    list(export_lines(project=rated, format="ratings", reader=bob))
    assert services.seats_lease(project=rated, user=bob, n=20, now=T0) == []


def test_records_tell_ratings_too(rated, bob):
    rated.votes_per_comparison = 2
    rated.save()
    services.seats_settle(project=rated)
    list(export_lines(project=rated, format="records", reader=bob))
    assert services.seats_lease(project=rated, user=bob, n=20, now=T0) == []


def test_ratings_have_no_choice_of_labels(rated):
    for how in ({"labels": "human"},):
        with pytest.raises(BadExport, match="as people gave them"):
            export_lines(project=rated, format="eft", **how)


def test_an_excluded_person_is_in_no_export(rated, bob):
    exclusion_create(project=rated, rater="ann", since=None, reason="", by=bob, now=T0)
    assert lines(rated, "ratings") == []
    assert lines(rated, "eft") == []
    assert all("ratings" not in row for row in lines(rated, "records"))


# --- right ratings

RIGHT = {"completion": 1, "rubric": RUBRIC, "values": {"correct": 5, "polite": 0}, "note": "It asks for money."}


def test_right_ratings_go_with_the_records_and_their_pairs_stay_held_out(project, other_project, tmp_path):
    given = record(gold_ratings=[RIGHT, RIGHT | {"completion": 2, "practice": True}])
    bring(project, tmp_path, given, record(id="r2", prompt="Thank Otto."))
    (one, other) = GoldItem.objects.order_by("pk")
    assert (one.values, one.note, one.for_practice) == (RIGHT["values"], RIGHT["note"], False)
    assert (other.completion.text, other.for_practice) == ("Flowers.", True)
    of_r1 = Comparison.objects.filter(prompt__external_id="r1")
    assert of_r1.count() == of_r1.filter(held_out=True).count() == 3
    assert not Comparison.objects.filter(prompt__external_id="r2", held_out=True).exists()
    written = lines(project, "records")
    assert [len(row.get("gold_ratings", ())) for row in written] == [2, 0]
    bring(other_project, tmp_path, *written, name="there.jsonl")
    assert lines(other_project, "records") == written
    for one in (project, other_project):
        assert (review_differences(one), differences(one), n_seats_wrong(one)) == ({}, {}, 0)
    again = bring(project, tmp_path, *written, name="again.jsonl")
    assert (again.n_records, again.added, GoldItem.objects.count()) == (0, {}, 4)
    with pytest.raises(RecordsError, match="its gold rating is not what the project has"):
        bring(project, tmp_path, given | {"gold_ratings": []}, name="without.jsonl")


def test_notes_of_gold_pairs_and_practice_go_with_the_records(project, other_project, tmp_path):
    gold = [{"pair": [0, 1], "choice": 0, "note": "It is kind."}, {"pair": [0, 2], "choice": "tie", "practice": True}]
    bring(
        project,
        tmp_path,
        record(gold=gold),
        record(id="r2", prompt="Thank Otto.", gold=[{"pair": [0, 1], "choice": 1}]),
    )
    pairs = Comparison.objects.exclude(gold="").order_by("pk")
    known = [(one.gold, getattr(one, "gold_item", None)) for one in pairs]
    assert [(gold, item and (item.note, item.for_practice)) for gold, item in known] == [
        ("first", ("It is kind.", False)),
        ("tie", ("", True)),
        ("second", None),
    ]
    written = lines(project, "records")
    assert [row["gold"] for row in written] == [gold, [{"pair": [0, 1], "choice": 1}]]
    bring(other_project, tmp_path, *written, name="there.jsonl")
    assert lines(other_project, "records") == written
    for one in (project, other_project):
        assert (review_differences(one), differences(one)) == ({}, {})
    silent = [{"pair": row["pair"], "choice": row["choice"]} for row in gold]
    again = bring(project, tmp_path, record(gold=silent), name="silent.jsonl")
    assert (again.n_records, again.added) == (0, {})
    assert lines(project, "records") == written
    with pytest.raises(RecordsError, match="its gold is not what the project has"):
        bring(project, tmp_path, record(gold=[silent[0] | {"note": "No."}, silent[1]]), name="other.jsonl")


def test_a_right_rating_that_is_marked_here_is_exported(project, alice, make_prompt, make_completion):
    answer = make_completion(make_prompt(project), "Thanks.")
    rubric = rubric_read("polite (yes/no): Does it thank?")
    guideline_add(project=project, text="Rate.", actor=None, task="rating", rubric=rubric)
    project.refresh_from_db()
    services.seats_settle(project=project)
    services.rating_gold_mark(answer=answer, values={"polite": 1}, by=alice, note="It does.")
    (row,) = lines(project, "records")
    rubric = [{"name": "polite", "question": "Does it thank?", "kind": "yes/no"}]
    assert row["gold_ratings"] == [{"completion": 0, "rubric": rubric, "values": {"polite": 1}, "note": "It does."}]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([RIGHT | {"completion": 3}], "gold_ratings\\[0\\].completion is not one of the 3"),
        ([RIGHT | {"practice": 1}], "practice is neither true nor false"),
        ([RIGHT | {"values": {}}], "'correct' has no value"),
        ([RIGHT, RIGHT | {"note": ""}], "on the same answer as gold_ratings\\[0\\]"),
        ([RIGHT | {"rater": "ann"}], "unknown key 'rater'"),
    ],
)
def test_a_right_rating_that_makes_no_sense_is_refused(rows, why):
    with pytest.raises(InvalidRecord, match=why):
        parse_record(record(gold_ratings=rows))
