"""The published figures of LLMBar and of Vicuna's evaluation come out of an import and a report."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db


def _report(command, **options):
    out = io.StringIO()
    call_command(command, json=True, stdout=out, **options)
    return json.loads(out.getvalue())


@pytest.mark.slow
def test_llmbar_natural(shared, project):
    """Zeng et al. 2023, table 3 (Natural, no rules): accuracy with unparsed as wrong; agreement of the two orders.

    Positional agreement there counts an item as agreeing where both orders parsed, and is said of all items where
    none failed; PaLM2's is 81 of the 97 that parsed in both and 84 where two failures agree with each other.
    """
    call_command("import_records", str(shared("llmbar_natural")), project=project.slug, stdout=io.StringIO())
    report = _report("report_agreement", project=project.slug)
    assert (report["project"], report["n_items"], report["n_gold"], report["n_majority"]) == (project.slug, 100, 100, 0)
    judges = {judge["name"]: judge for judge in report["judges"]}
    expected = {"GPT-4": (93.5, 97.0), "ChatGPT": (79.0, 68.0), "PaLM2": (82.0, 84.0)}
    for name, (accuracy, consistency) in expected.items():
        judge = judges[f"{name}/Vanilla_NoRules"]
        asked = judge["n"] + judge["n_unparseable"]
        assert asked == 200
        assert 100 * judge["n_correct"] / asked == accuracy
        same = round(judge["order_consistency"] * judge["n_both_parsed"]) + judge["n_both_unparseable"]
        assert same == consistency
    palm = judges["PaLM2/Vanilla_NoRules"]
    assert (round(palm["order_consistency"] * palm["n_both_parsed"]), palm["n_both_parsed"]) == (81, 97)


@pytest.mark.slow
def test_vicuna(shared, project, bring):
    """The Vicuna blog: its wins, ties and losses over 80 questions against each of four models."""
    bring(shared("vicuna_blog"))
    report = _report("report_leaderboard", project=project.slug)
    vicuna = "vicuna-13b:20230322-clean-lang"
    found = {pair["a"]: (pair["losses"], pair["ties"], pair["wins"]) for pair in report["pairs"] if pair["b"] == vicuna}
    assert found == {
        "llama-13b:v1": (77, 0, 3),
        "alpaca-13b:v1": (76, 1, 3),
        "bard:20230327": (40, 10, 30),
        "gpt-3.5-turbo:20230327": (14, 22, 44),
    }
    assert (report["source"], report["n_used"], report["n_dropped"], report["reason"]) == ("all", 320, 0, None)
    one = _report("report_leaderboard", project=project.slug, source="gpt-4-0328-math")
    assert 0 < one["n_used"] < 320


def test_bad_arguments_are_one_line(project):
    with pytest.raises(CommandError, match="no source 'nobody' in project letters-test; there are: all, human"):
        call_command("report_leaderboard", project=project.slug, source="nobody")
    for command in ("report_agreement", "report_leaderboard"):
        with pytest.raises(CommandError, match="there is no project 'x'"):
            call_command(command, project="x")
        with pytest.raises(CommandError, match="0 or more"):
            call_command(command, project=project.slug, seed=-1)


@pytest.mark.slow
def test_the_words_of_the_commands_say_what_to_do(project, shared, bring):
    bring(shared("llmbar_natural"))
    out = io.StringIO()
    call_command("report_agreement", project=project.slug, stdout=out)
    assert "You can rely on GPT-4/Vanilla" in out.getvalue()
    assert "n\u202f=\u202f200" in out.getvalue()
