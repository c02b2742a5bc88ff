"""The figures that other people published, from their own files to our reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefloop.formats import read_file
from prefloop.stats.report import agreement_report, leaderboard_report


@pytest.fixture
def llmbar(shared_data, report_rows):
    items, votes, verdicts = report_rows(read_file(shared_data / "llmbar_natural"))
    return agreement_report(project="llmbar", items=items, votes=votes, verdicts=verdicts, n_bootstrap=200)


@pytest.mark.parametrize(
    ("judge", "accuracy", "between_orders"),
    [
        ("GPT-4/Vanilla_NoRules", 93.5, 97.0),
        ("ChatGPT/Vanilla_NoRules", 79.0, 68.0),
        ("PaLM2/Vanilla_NoRules", 82.0, 84.0),
    ],
)
def test_llmbar_natural_gives_the_published_accuracy_and_agreement_between_orders(
    llmbar, judge, accuracy, between_orders
):
    (row,) = [j for j in llmbar["judges"] if j["name"] == judge]
    # published: unparsed is wrong, unparsed in both orders agrees
    assert 100 * row["n_correct"] / (row["n"] + row["n_unparseable"]) == pytest.approx(accuracy)
    consistent = round(row["order_consistency"] * row["n_both_parsed"])
    assert 100 * (consistent + row["n_both_unparseable"]) / llmbar["n_items"] == pytest.approx(between_orders)


def test_palm2_agrees_with_itself_in_81_of_the_97_items_parsed_in_both_orders(llmbar):
    (row,) = [j for j in llmbar["judges"] if j["name"] == "PaLM2/Vanilla_NoRules"]
    assert (row["n_both_parsed"], row["n_both_unparseable"], row["n_unparseable"]) == (97, 3, 6)
    assert row["order_consistency"] == pytest.approx(81 / 97)


def test_llmbar_natural_holds_a_hundred_gold_items_and_no_people(llmbar):
    assert (llmbar["n_items"], llmbar["n_gold"], llmbar["n_majority"]) == (100, 100, 0)
    assert len(llmbar["judges"]) == 6
    assert {r["kind"] for r in llmbar["raters"]} == {"judge"}


@pytest.mark.slow
def test_the_vicuna_blog_gives_the_published_wins_ties_and_losses(shared_data, games_of):
    report = leaderboard_report(
        project="v", source="all", games=games_of(read_file(shared_data / "vicuna_blog")), n_orders=200
    )
    vicuna = "vicuna-13b:20230322-clean-lang"
    found = {}
    for pair in report["pairs"]:
        if pair["b"] == vicuna:
            found[pair["a"]] = (pair["losses"], pair["ties"], pair["wins"])
        elif pair["a"] == vicuna:
            found[pair["b"]] = (pair["wins"], pair["ties"], pair["losses"])
    assert found == {
        "llama-13b:v1": (77, 0, 3),
        "alpaca-13b:v1": (76, 1, 3),
        "bard:20230327": (40, 10, 30),
        "gpt-3.5-turbo:20230327": (14, 22, 44),
    }
    assert report["models"][0]["name"] == "gpt-3.5-turbo:20230327"
    assert report["reason"] is None
    # Vicuna was always shown second, so its place can't be told from its strength.
    assert report["first_slot_effect"]["bt"] is None
    assert report["first_slot_effect"]["reason"] == "the order shown can't be told from who played"


def run_stats(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "prefloop.stats", *args], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_every_figure_of_the_reference_file_is_computed_and_close_to_what_was_published(shared_data):
    file = shared_data / "reference_statistics" / "cases.json"
    done = run_stats(str(file), "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    n = 0
    for part, cases in json.loads(file.read_text()).items():
        for name, case in cases.items():
            for figure, published in case["published"].items():
                computed = results[part][name]["computed"][figure]
                decimals = 2 if name in ("fleiss_wikipedia", "wikipedia") else 4
                if isinstance(published, dict):
                    # printed to two or three decimals
                    assert computed == pytest.approx(published, abs=1e-3)
                else:
                    assert computed == pytest.approx(published, abs=0.51 * 10**-decimals)
                n += 1
    assert n == 14
    table = run_stats(str(file))
    assert table.returncode == 0
    assert "0.691358025" in table.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not valid JSON"),
        ("[]", "holds neither agreement nor bradley_terry cases"),
        ('{"agreement": {"x": {"data": []}}}', "agreement / x has no published figures"),
        ('{"agreement": {"x": {"layout": "?", "data": [], "published": {}}}}', "layout '?' is none of"),
        (
            '{"agreement": {"x": {"layout": "3x3 contingency table", "data": [[1, 2]], "published": {"kappa": 1}}}}',
            "agreement / x: can't be computed: a contingency table is square",
        ),
        (
            '{"bradley_terry": {"x": {"wins": [["A", "B", 1]], "published": {"ml_log": []}}}}',
            "bradley_terry / x: can't be computed: not strongly connected",
        ),
        (
            '{"agreement": {"x": {"layout": "contingency table", "data": [[1]], "published": {"magic": 1}}}}',
            "don't know the figure 'magic'",
        ),
    ],
)
def test_a_bad_reference_file_is_one_clear_line_and_a_failure(tmp_path: Path, content, says):
    file = tmp_path / "cases.json"
    file.write_text(content)
    done = run_stats(str(file))
    assert done.returncode != 0
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.slow
def test_a_missing_reference_file_is_one_clear_line(tmp_path: Path):
    done = run_stats(str(tmp_path / "none.json"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No such file" in done.stderr
