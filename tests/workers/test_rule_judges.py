"""A judge made of rules: made on its page, asked by a job, scoring, in an ensemble, for a loop; and what it refuses."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command

from apps.jobs.drain import drain
from apps.judging.services import BadJudge, judge_create, judging_run_create
from apps.labels.models import Judge, Preference, Score, Verdict
from apps.labels.selectors import scores_of
from apps.training.rounds.loop_judge import loop_judge
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe
from tests.workers.ensembles import ensemble_create

pytestmark = pytest.mark.django_db
RULES = [{"check": "words", "at_most": 4}, {"check": "contains", "text": "Maria"}]
OWN = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


@pytest.fixture
def make_pair(project, make_prompt, make_comparison):
    def make(first, second, **prompt):
        asked = make_prompt(project, "Write a thank-you note to Maria.", **prompt)
        return make_comparison(project, (first, second), prompt=asked)

    return make


def rules_judge(project, name="checks", **options):
    return judge_create(project=project, name=name, kind="rules", options={"rules": RULES, **options})


def ask(project, judge, *pairs):
    run = judging_run_create(project=project, judge=judge, comparison_ids=[pair.pk for pair in pairs])
    drain(["cpu"], worker_name="w")
    return {verdict.comparison_id: verdict for verdict in Verdict.objects.filter(run=run)}


def test_it_compares_by_the_rules_and_says_why(project, make_pair):
    better, equal = make_pair("Thanks, dear Maria", "No thanks to anybody at all"), make_pair("Hi Maria", "Maria, hi")
    worse = make_pair("Hi", "Hi Maria")
    said = ask(project, rules_judge(project), better, equal, worse)
    assert [said[pair.pk].outcome for pair in (better, equal, worse)] == ["first", "tie", "second"]
    assert said[better.pk].rationale == (
        "First answer: 2 of 2 rules met.\n"
        "Second answer: 0 of 2 rules met. words: It has 6 words; at most 4 are asked for. "
        'contains: It contains "Maria" 0 times; at least 1 is asked for.'
    )
    assert said[better.pk].p_first is None  # which meets more is certain, how much better it is isn't told
    assert Preference.objects.get(comparison=better).outcome == "first"
    scores = Score.objects.filter(completion__in=[better.first_id, better.second_id])
    assert sorted(scores.values_list("value", flat=True)) == [0.0, 1.0]


def test_rules_come_with_each_prompt_and_one_without_any_is_skipped(project, make_pair):
    judge = judge_create(project=project, name="ifeval", kind="rules", options={"from_metadata": True})
    ruled = make_pair("Thanks, Maria", "Thanks Maria", metadata=OWN)
    free, broken = make_pair("a, b", "a"), make_pair("a, b", "a", metadata={"rules": [{"check": "wrods"}]})
    said = ask(project, judge, ruled, free, broken)
    assert (said[ruled.pk].state, said[ruled.pk].outcome) == ("ok", "second")
    assert (said[free.pk].state, said[free.pk].rationale) == ("skipped", "this prompt has no rules in its metadata")
    assert said[broken.pk].state == "error"
    assert "there is no such check; did you mean words?" in said[broken.pk].rationale


@pytest.mark.slow
def test_an_expression_that_takes_too_long_is_an_error_of_that_answer_alone(project, make_pair):
    judge = judge_create(
        project=project, name="slow", kind="rules", options={"rules": [{"check": "matches", "pattern": "^(a+)+$"}]}
    )
    slow, fine = make_pair("a" * 50 + "b", "aaa"), make_pair("aaa", "b")
    said = ask(project, judge, slow, fine)
    assert (said[slow.pk].state, said[fine.pk].outcome) == ("error", "first")
    assert "takes more than" in said[slow.pk].rationale


def test_it_scores_answers_and_sits_in_an_ensemble(project, make_pair):
    pair = make_pair("Hi Maria", "Hi")
    judge = rules_judge(project, count="all")
    ask(project, judge, pair)
    assert scores_of(judge, [pair.first_id, pair.second_id]) == {pair.first_id: 1.0, pair.second_id: 0.0}
    both = ensemble_create(
        project=project, name="both", members=[judge, rules_judge(project, "share")], rule="majority"
    )
    assert ask(project, both, pair)[pair.pk].outcome == "first"


def test_the_command_asks_it(project, make_pair, capsys):
    make_pair("Hi Maria", "Hi")
    rules_judge(project)
    call_command("judge", judge="checks", project=project.slug, json=True)
    assert json.loads(capsys.readouterr().out)["n_verdicts"] == {"ok": 1}


@pytest.mark.slow
def test_it_is_made_and_changed_on_its_page(project, erin, client_for):
    client, new = client_for(erin), f"/p/{project.slug}/judges/new/"
    assert b"Checks written as data" in client.get(new).content
    page = client.post(new + "?kind=rules", {"name": "checks", "rules": '[{"check": "wrods"}]', "count": "share"})
    assert page.status_code == 400
    assert "rule 1 (wrods): there is no such check; did you mean words?" in page.content.decode()
    assert client.post(new + "?kind=rules", {"name": "checks", "count": "share"}).status_code == 400
    posted = {"name": "checks", "rules": json.dumps(RULES), "count": "share", "from_metadata": "on"}
    assert client.post(new + "?kind=rules", posted).status_code == 302
    made = Judge.objects.get(project=project, name="checks")
    assert made.options == {"rules": RULES, "from_metadata": True, "count": "share", "loose": False}
    assert made.order_policy == "random"  # no answer is shown before another
    assert client.get(f"/p/{project.slug}/judges/{made.pk}/").status_code == 200
    edit = f"/p/{project.slug}/judges/{made.pk}/edit/"
    assert "at_most" in client.get(edit).content.decode()
    assert client.post(edit, {"rules": json.dumps(RULES[:1]), "count": "all"}).status_code == 302
    assert Judge.objects.get(project=project, name="checks", version=2).options["rules"] == RULES[:1]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "give rules, or take them from"),
        ({"rules": "[1"}, "the rules are not valid JSON"),
        ({"rules": RULES, "noise": 1}, "a judge of the kind rules has no setting noise"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(project, options, why):
    with pytest.raises(BadJudge, match=why):
        judge_create(project=project, name="bad", kind="rules", options=options)
    assert not Judge.objects.filter(name="bad").exists()


def test_a_round_takes_its_scores(project):
    judge = rules_judge(project)
    recipe = apply_settings(get_recipe("iterative-dpo"), {"score.judge": "checks"})
    assert loop_judge(project, recipe) == judge
    inside = apply_settings(get_recipe("oaif-dpo"), {"label.judge": "checks"})
    assert loop_judge(project, inside) == judge
