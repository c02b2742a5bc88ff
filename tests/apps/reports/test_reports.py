"""Reports of a project: the columns against the plain builders, what counts and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from django.utils import timezone

from apps.prompts.models import ImportBatch
from apps.reports import charts, figures, selectors, services, words
from prefloop.stats.report import agreement_report, columns_of

pytestmark = pytest.mark.django_db


def test_the_columns_fetched_are_those_of_the_plain_rows(project, told):
    (ours, ids), plain = selectors.agreement_columns(project), columns_of(*told)
    assert ids.tolist() == [item.id for item in told[0]]
    for name in plain.__dataclass_fields__:
        a, b = getattr(ours, name), getattr(plain, name)
        if name.startswith("verdict"):  # rows of verdicts may come in another order
            continue
        assert a == b if isinstance(b, tuple) else np.array_equal(a, b), name
    key = lambda c: np.lexsort((c.verdict_swapped, c.verdict_judge, c.verdict_item))  # noqa: E731
    for name in ("verdict_item", "verdict_judge", "verdict_swapped", "verdict_sample", "verdict_outcome", "verdict_p"):
        a, b = getattr(ours, name)[key(ours)], getattr(plain, name)[key(plain)]
        assert np.array_equal(a, b, equal_nan=name == "verdict_p"), name
    report = services.agreement_report(project=project, seed=3)
    items, votes, verdicts = told
    assert report == agreement_report(project=project.slug, items=items, votes=votes, verdicts=verdicts, seed=3)


def test_an_override_is_never_a_vote_nor_truth(project, told, make_comparison, make_judge):
    from apps.labels.models import Override

    before = services.agreement_report(project=project)
    comparison = project.comparisons.filter(gold="").first()
    judge = project.judges.first()
    Override.objects.create(comparison=comparison, judge=judge, rater="lead", kind="override", choice="tie")
    assert services.agreement_report(project=project) == before


@pytest.mark.slow
def test_an_unfinished_import_is_not_reported(project, told, make_comparison, make_vote):
    before = services.agreement_report(project=project)
    batch = ImportBatch.objects.create(project=project, name="x", format="records", ready=False)
    hidden = make_comparison(project, models=("m1", "m2"), batch=batch)
    make_vote(hidden, "first", rater="ann")
    assert services.agreement_report(project=project) == before
    assert services.leaderboard_report(project=project)["n_used"] == selectors.games(project).columns.usable.sum()


def test_what_two_projects_say_stays_apart(project, told, other_project, make_comparison, make_verdict):
    make_verdict(make_comparison(other_project, models=("x", "y")))
    assert services.leaderboard_report(project=other_project)["n_used"] == 1
    assert services.agreement_report(project=other_project)["n_items"] == 1


@pytest.mark.slow
def test_a_game_is_a_vote_or_a_verdict_and_knows_what_was_shown_first(
    project, make_comparison, make_vote, make_judge, make_verdict
):
    judge = make_judge(project, "j")
    c = make_comparison(project, models=("m1", "m2"))
    make_vote(c, "first", rater="ann", order="10")
    make_vote(c, "skip", rater="ben", order="")
    make_verdict(c, "tie", judge=judge, order="01")
    make_verdict(c, "", judge=judge, order="10")
    games = selectors.games(project)
    columns = games.columns
    assert (columns.models, games.judges) == (("m1", "m2"), ("j",))
    shown = zip(columns.a, columns.b, columns.score, columns.shown, columns.source, strict=True)
    assert [tuple(None if v != v else int(2 * v) for v in row) for row in shown] == [  # twice, so that ½ shows
        (0, 2, 2, -2, -2),  # ann's vote for the first, shown second
        (0, 2, None, 0, -2),  # a skip of nobody knows what order
        (0, 2, 1, 2, 0),  # the judge's tie
        (0, 2, None, -2, 0),
    ]
    report = services.leaderboard_report(project=project)
    assert (report["n_used"], report["n_dropped"]) == (2, 2)
    # by hand: m1 has a win and half of a tie of two games
    assert {m["name"]: m["win_rate"] for m in report["models"]} == {"m1": 0.75, "m2": 0.25}
    assert services.leaderboard_report(project=project, source="human")["pairs"] == [
        {"a": "m1", "b": "m2", "wins": 1, "ties": 0, "losses": 0}
    ]
    assert services.leaderboard_report(project=project, source="j")["n_used"] == 1


@pytest.mark.slow
def test_people_against_each_other_by_hand(project, make_comparison, make_vote):
    """Three people, two pairs: they meet 3 times on the first (1 agreement) and once on the second (1)."""
    first, second = make_comparison(project), make_comparison(project)
    for rater, choice in (("a", "first"), ("b", "first"), ("c", "second")):
        make_vote(first, choice, rater=rater)
    for rater in "ab":
        make_vote(second, "tie", rater=rater)
    base = figures.baselines(services.agreement_report(project=project))
    assert (base.ceiling.value, base.ceiling.n) == (0.5, 4)
    # against the majority of the others: on the first a and b have a level rest, c stands against two; a and b agree
    assert (base.person.value, base.person.n) == (pytest.approx(2 / 3), 3)
    assert base.chance == 0.5
    assert base.n_truth == 2
    assert (base.commonest.value, base.commonest.n) == (0.5, 2)


def test_biases_by_hand(project, make_comparison, make_judge, make_verdict):
    judge = make_judge(project, "j")
    c = make_comparison(project, ("long answer", "short"))
    make_verdict(c, "first", judge=judge, order="01")  # shown first, and the longer
    make_verdict(c, "second", judge=judge, order="10")  # shown first, the shorter
    make_verdict(make_comparison(project, ("xx", "yy")), "tie", judge=judge)
    (bias,) = figures.biases(services.agreement_report(project=project))
    assert (bias.first_slot.value, bias.first_slot.n) == (1.0, 2)
    assert (bias.longer.value, bias.longer.n) == (0.5, 2)
    assert (bias.same_in_both_orders.value, bias.same_in_both_orders.n) == (0.0, 1)


def test_the_page_and_the_report_give_one_figure(project, told):
    """A second road: the page's biases against the report's JSON."""
    found = services.agreement_for_page(project=project, now=timezone.now())
    for judge, bias in zip(found.report["judges"], figures.biases(found.report), strict=True):
        assert judge["name"] == bias.name
        assert judge["first_slot_rate"] == bias.first_slot.value
        assert judge["longer_preferred"] == {
            "n": bias.longer.n,
            "k": round((bias.longer.value or 0) * bias.longer.n),
            "rate": bias.longer.value,
        }
        assert (judge["order_consistency"], judge["n_both_parsed"]) == (
            bias.same_in_both_orders.value,
            bias.same_in_both_orders.n,
        )
        wrong = figures.disagreements(found.columns, judge["name"])
        assert len(wrong) == judge["n"] - judge["n_correct"]
        cells = {
            (t, o): len(figures.disagreements(found.columns, judge["name"], truth_code=i, said_code=k))
            for i, t in enumerate(judge["confusion"])
            for k, o in enumerate(judge["confusion"][t])
        }
        assert cells == {(t, o): n for t, row in judge["confusion"].items() for o, n in row.items()}


@pytest.mark.slow
def test_a_report_is_made_again_when_somebody_says_something_new(project, told, make_vote):
    early = services.agreement_for_page(project=project, now=timezone.now())
    assert services.agreement_for_page(project=project, now=timezone.now()).made_at == early.made_at
    make_vote(project.comparisons.first(), "tie", rater="late")
    assert services.agreement_for_page(project=project, now=timezone.now()).made_at > early.made_at


@pytest.mark.slow
def test_slices_split_by_metadata_of_prompts_and_answers(project, told, bob, client_for):
    from apps.prompts.models import Prompt
    from apps.samples.models import Completion

    for i, prompt in enumerate(Prompt.objects.filter(project=project).order_by("id")):
        Prompt.objects.filter(pk=prompt.pk).update(metadata={"topic": "x" if i % 2 else "y"} if i else {})
    first = Completion.objects.filter(project=project).order_by("id").first()
    Completion.objects.filter(pk=first.pk).update(metadata={"tone": 3})
    ids = selectors.agreement_columns(project)[1]
    assert selectors.slice_keys(ids) == ["topic", "answer.tone"]
    split = selectors.slices(project, "topic", ids)
    assert split.values == ("x", "y")
    assert split.place[:4].tolist() == [-1, 0, 1, 0]
    tones = selectors.slices(project, "answer.tone", ids)
    assert (tones.values, tones.place.tolist()) == (("3 / –",), [0] + [-1] * (len(ids) - 1))
    # what came since the report was made has no place in it
    assert selectors.slices(project, "topic", ids[:-1]).place.tolist() == split.place[:-1].tolist()
    found = services.agreement_for_page(project=project, now=timezone.now())
    for part, judge in zip(services.slice_report(found, split), found.report["judges"], strict=True):
        assert part["judge"] == judge["name"]
        assert 0 < sum(row["n"] for row in part["slices"]) <= judge["n"]
    # the page asks for them once it is there; without scripts a link leads to them
    page = client_for(bob).get("/p/letters-test/reports/agreement/").content.decode()
    assert 'hx-get="/p/letters-test/reports/agreement/slices/"' in page
    assert 'href="?slice=topic#slices"' in page
    part = client_for(bob).get("/p/letters-test/reports/agreement/slices/").content.decode()
    assert part.strip().startswith("<section")
    for address in ("agreement/?slice=topic", "agreement.html"):
        whole = client_for(bob).get(f"/p/letters-test/reports/{address}").content.decode()
        assert 'id="slices"' in whole
        assert 'hx-get="/p/letters-test/reports/agreement/slices/"' not in whole
        rows = part[part.index("<table") : part.index("</table>")]
        assert rows in whole
    assert (
        "Agreement by answer.tone"
        in client_for(bob).get("/p/letters-test/reports/agreement/?slice=answer.tone").content.decode()
    )


def test_overrides_are_counted_with_their_reasons(project, told):
    from apps.labels.models import Override

    judge = project.judges.get(name="abe")
    for i, c in enumerate(project.comparisons.order_by("id")[:5]):
        kind, choice, reason = ("override", "tie", "rude") if i < 2 else ("agree", "", "")
        Override.objects.create(comparison=c, judge=judge, rater="lead", kind=kind, choice=choice, reason=reason)
    # as older versions stored it: an override that says what the judge said is an agreement
    last = project.comparisons.order_by("id")[5]
    kept = {"kind": "override", "choice": "first", "judge_outcome": "first", "reason": "quite so"}
    Override.objects.create(comparison=last, judge=judge, rater="lead", **kept)
    (found,) = selectors.override_list(project)
    assert (found.name, found.n, found.n_changed, found.reasons) == ("abe", 6, 2, (("rude", 2),))


def test_the_cards_of_judges_are_those_of_the_report(project, told):
    from apps.judging.cards import judge_cards
    from apps.labels.selectors import judge_names

    report = services.agreement_report(project=project)
    cards = judge_cards(project, judge_names(project))
    assert list(cards.values()) == figures.biases(report)
    assert cards["abe"].agreement.value == report["judges"][0]["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_whole_reports_come_as_files(project, told, bob, client_for, form):
    for name in ("agreement", "leaderboard"):
        response = client_for(bob).get(f"/p/letters-test/reports/{name}.{form}")
        text = response.content.decode()
        assert f'filename="letters-test.{name}.{form}"' in response.headers["Content-Disposition"]
        assert "abe" in text or name == "leaderboard"
        assert "NaN" not in text
        if form == "html":
            assert "<style>" in text
            assert "data-styles" not in text
            assert "<use" not in text  # a symbol of ours would be fetched from the server, and refused to a file
            assert (name == "leaderboard") or ('<g fill="none" stroke="currentColor"' in text)


@pytest.mark.slow
def test_a_large_board_is_worked_out_by_a_job_once(project, told, bob, client_for, monkeypatch):
    from apps.jobs.models import Job
    from apps.reports.tasks import work_out_leaderboard

    monkeypatch.setattr(services, "INLINE_GAMES", 5)
    client, url = client_for(bob), "/p/letters-test/reports/leaderboard/"
    assert "Calculate Elo" in client.get(url).content.decode()
    for _ in range(2):
        assert client.post(f"{url}work-out/", {"source": "all"}).status_code == 302
    job = Job.objects.get(kind=services.BOARD_JOB)
    assert "being calculated" in client.get(url).content.decode()

    class Context:
        payload = job.payload

        def progress(self, *_args):
            pass

    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(state="succeeded", result=work_out_leaderboard(Context()), ended_at=now)
    page = client.get(url).content.decode()
    assert "were calculated" in page
    assert "random orders" in page
    assert client.post(f"{url}work-out/", {"source": "nobody"}).status_code == 404


# --- words


@pytest.mark.slow
def test_the_sentence_tells_a_busy_person_what_to_do(
    project, at_once, make_comparisons, make_judge, make_verdict, make_vote
):
    say = lambda: words.agreement_sentence(services.agreement_report(project=project))  # noqa: E731
    assert say().startswith("There is nothing to compare yet")
    pairs = make_comparisons(project, 120)
    assert say().startswith("Nobody has judged anything yet")
    judge = make_judge(project, "j")
    with at_once(project):
        for pair in pairs:
            make_verdict(pair, "first", judge=judge)
    assert "no truth to check them against" in say()
    with at_once(project):
        for i, pair in enumerate(pairs[:40]):
            make_vote(pair, "first" if i % 2 else "second", rater="a")
    assert "too few verdicts" in say()
    with at_once(project):
        for i, pair in enumerate(pairs[40:]):
            make_vote(pair, "first" if i % 2 else "second", rater="a")
    assert say().startswith("Do not rely on any judge yet: j,")


def test_the_best_judge_has_verdicts_enough_where_any_has():
    def judge(name, n, kappa):
        return {"name": name, "n": n, "accuracy": 0.9, "cohen_kappa": kappa}

    lucky, slow, known = judge("lucky", 5, 1.0), judge("slow", 98, 0.8), judge("known", 400, 0.7)
    assert words.best_judge({"judges": [lucky, slow, known]}) is known
    assert words.best_judge({"judges": [lucky, slow]}) is slow  # none has: the one that most is known of
    assert words.best_judge({"judges": [judge("mute", 0, None) | {"accuracy": None}]}) is None


def test_win_rates_are_named_whose_they_are_and_say_what_they_rest_on():
    def rate(n):
        return {"n": n, "rate": 0.6, "ci95": [0.5, 0.7]}

    model = {"name": "a-model-with-a-long-name", "human": rate(31), "judge": rate(70), "both": rate(25)}
    section = {"judge": "j", "models": [model]}
    assert "from 70 that j labelled and the 25 of these that people voted on too" in words.win_rates_sentence(section)
    drawn = charts.win_rates(section)
    assert all(f">{word} · a" in drawn.narrow for word in ("people", "judge", "both"))
    assert ">a-model-with-a-long-name · people<" in drawn.wide
