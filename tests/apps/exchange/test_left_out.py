"""Every comparison that an export leaves out is counted, under its reason."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from apps.exchange.left_out import REASONS, left_out, with_repeats

pytestmark = pytest.mark.django_db


def simple(i, **more):
    return {"id": f"r{i}", "prompt": f"Prompt {i}", "completions": [{"text": "a"}, {"text": "b"}], **more}


def verdict(choice, judge="j", **more):
    return {"judge": judge, "pair": [0, 1], "choice": choice, **more}


@pytest.fixture
def all_reasons(project, bring, write_lines):
    """One comparison of each reason, and one decided; judge j labels."""
    project.label_judge = "j"
    project.save()
    both = [verdict(0, "j2"), verdict(1, "j2", order=[1, 0])]
    split = [{"rater": "x", "choice": 0}, {"rater": "y", "choice": 1}]
    bring(
        write_lines(
            [
                simple(0, verdicts=[verdict(0)]),
                simple(1, verdicts=[verdict("tie")]),
                simple(2, verdicts=[verdict("both_bad")]),
                simple(3, gold=[{"pair": [0, 1], "choice": 0}]),
                simple(4, split="eval", verdicts=[verdict(0)]),
                simple(5, verdicts=[verdict(1)]) | {"completions": [{"text": "s"}, {"text": "s"}]},
                simple(6, votes=split),
                simple(7, scores=[{"judge": "aspect", "completion": 0, "value": 3}]),
                simple(8, verdicts=both),
                simple(9),
                simple(10, verdicts=[verdict(0, order=[1, 0])]) | {"prompt": "Prompt 0"},
            ]
        )
    )
    return project


@pytest.mark.slow
def test_each_comparison_is_in_the_file_or_under_one_reason(all_reasons, take):
    found = left_out(project=all_reasons, format="trl")
    assert found.counts == {
        "held_out": 2, "same_answers": 1, "tie": 1, "both_bad": 1, "split": 1, "only_scores": 1, "no_label": 1,
        "judge_silent": 1,
    }  # fmt: skip
    assert found.n_kept + found.total == 11
    assert found.counts.keys() <= REASONS.keys()
    for shape, lines in (("trl", 1), ("kto", 2)):
        told = left_out(project=all_reasons, format=shape)
        assert len(take(all_reasons, shape).splitlines()) == lines * told.n_kept
    assert "both_bad" not in left_out(project=all_reasons, format="kto").counts


def test_what_people_said_is_counted_by_itself(all_reasons, take):
    found = left_out(project=all_reasons, format="trl", labels="human")
    assert found.counts == {"held_out": 2, "same_answers": 1, "split": 1, "no_vote": 7}
    assert take(all_reasons, "trl", "human") == b""


def test_lines_that_would_repeat_are_counted(all_reasons, take):
    for shape, repeated in (("sft", 1), ("prompt-only", 1)):
        n = len(take(all_reasons, shape).splitlines())
        told = with_repeats(left_out(project=all_reasons, format=shape), format=shape, n_lines=n)
        assert (told.n_kept, told.counts["repeated"]) == (n, repeated)


@pytest.mark.slow
def test_judges_without_a_label_judge_are_named_as_the_reason(project, bring, write_lines):
    bring(write_lines([simple(0, verdicts=[verdict(0), verdict(1, "k")])]))
    assert left_out(project=project, format="trl").counts == {"no_label_judge": 1}


@pytest.mark.slow
def test_ultrafeedback_without_a_preference_says_why_it_is_empty(
    project, tmp_path, write_lines, capsys, client_for, alice
):
    aspects = {"helpfulness": {"Rating": "4"}, "honesty": {"Rating": "3"}}
    row = {
        "instruction": "Q",
        "completions": [{"model": "m", "response": r, "annotations": aspects} for r in ("a", "b")],
    }
    call_command("import_records", str(write_lines([row])), project=project.slug, format="ultrafeedback")
    out = tmp_path / "out.jsonl"
    call_command("export_preferences", project=project.slug, format="trl", out=str(out))
    why = "the answers have scores but no comparison"
    assert why in capsys.readouterr().err
    client = client_for(alice)
    assert why in client.get(f"/p/{project.slug}/data/?format=trl").content.decode()
    for kind in ("jsonl", "csv", "parquet"):
        answer = client.get(f"/p/{project.slug}/data/export/?format=trl&as={kind}", follow=True)
        assert answer.redirect_chain
        assert why in answer.content.decode()
