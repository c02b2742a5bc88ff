"""The report pages in a real browser: wide and narrow, light and dark, with and without scripts."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone
from playwright.sync_api import expect

pytestmark = pytest.mark.django_db(transaction=True)
LOOKS = [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]


@pytest.fixture
def told(project, bob, settings, tmp_path):
    """Sixty comparisons of two models, three people, two judges in both orders; some judged wrong."""
    from apps.exchange.services import import_file

    settings.VAR_DIR = tmp_path
    rows = []
    for i in range(60):
        truth = i % 2
        votes = [
            {"rater": name, "pair": [0, 1], "choice": truth if (i + k) % 5 else 1 - truth, "order": [0, 1]}
            for k, name in enumerate(("ann", "ben", "maria"))
        ]
        verdicts = [
            {"judge": judge, "pair": [0, 1], "order": order, "choice": truth if (i + k) % wrong else "tie"}
            for judge, wrong in (("careful", 17), ("hasty-judge-with-a-long-name", 3))
            for k, order in enumerate(([0, 1], [1, 0]))
        ]
        completions = [
            {"text": "Dear Maria, thank you so much." + " Yours." * (i % 3), "model": "big-model:2026"},
            {"text": "Hey, I got them.", "model": "small-model" if i % 4 else "old-model"},
        ]
        rows.append({"id": f"r{i}", "prompt": f"Thank Maria ({i}).", "completions": completions, "votes": votes})
        rows[-1]["verdicts"] = verdicts
    path = tmp_path / "told.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(project=project, path=path, name="told.jsonl", created_by=None, now=timezone.now())
    return project


def _no_overflow(page):
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_the_agreement_page(told, bob, page_for, axe, shoot, width, theme):
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/reports/agreement/")
    expect(page.get_by_role("heading", name="Can the judges be trusted?")).to_be_visible()
    visible = page.locator("svg.chart:visible")
    assert visible.count() >= 6
    assert page.locator("svg.chart:visible .is-human .mark").count() >= 2  # one person, two people
    assert "careful" in page.locator(".report-sentence").inner_text()
    edges = page.locator(".use-cell").first.evaluate(
        "one => [one.getBoundingClientRect().right, one.closest('.panel').getBoundingClientRect().right]"
    )
    assert edges[0] <= edges[1], "what is said of a judge is read without scrolling"
    _no_overflow(page)
    axe(page)
    shoot(page, f"agreement-{width}-{theme}")
    page.emulate_media(media="print")
    assert page.locator(".skip-link").is_hidden()  # else it stands at the foot of every printed page


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_the_leaderboard_page(told, bob, page_for, axe, shoot, width, theme):
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/reports/leaderboard/")
    expect(page.get_by_role("heading", name="Models by strength")).to_be_visible()
    expect(page.get_by_role("row", name="big-model:2026").first).to_be_visible()
    _no_overflow(page)
    cut = page.evaluate("""() => [...document.querySelectorAll("svg.chart .value")].filter((text) => {
        const box = text.getBBox();
        return box.x + box.width > text.ownerSVGElement.viewBox.baseVal.width;
    }).map((text) => text.textContent)""")
    assert cut == []
    axe(page)
    shoot(page, f"leaderboard-{width}-{theme}")


def test_a_cell_of_the_confusion_opens_its_pairs_and_a_pair_its_page(told, bob, page_for):
    page = page_for(bob)
    page.goto("/p/letters-test/reports/agreement/")
    figure = page.locator("figure", has=page.get_by_role("heading", name="careful", exact=True))
    figure.locator("svg a").nth(2).click()  # truth A, the judge said a tie
    page.wait_for_url("**judge=careful*said=tie*")
    rows = page.locator("#disagreements tbody tr")
    assert rows.count() >= 1
    rows.first.get_by_role("link").click()
    page.wait_for_url("**/comparisons/*/")


def test_reports_need_no_scripts(told, bob, page_for):
    page = page_for(bob, scripts=False)
    page.goto("/p/letters-test/reports/leaderboard/")
    page.get_by_label("Whose labels").select_option("human")
    page.get_by_role("button", name="Show").click()
    assert "180 labels" in page.locator("main").inner_text()
    page.get_by_role("link", name="Agreement", exact=True).click()
    assert page.locator("svg.chart:visible").count() >= 6


def test_an_empty_project_says_what_to_do_next(project, bob, page_for, axe):
    page = page_for(bob)
    for path in ("agreement", "leaderboard"):
        page.goto(f"/p/letters-test/reports/{path}/")
        expect(page.get_by_role("link", name="Import data")).to_be_visible()
        axe(page)


@pytest.fixture
def ran(project):
    """Two loops from one policy, one of which went too far, and a measured best of n."""
    from apps.policies.models import Checkpoint
    from apps.training.models import Loop, Round
    from prefloop.stats.best_of_n import kl_bound

    start = Checkpoint.objects.create(project=project, name="start", role="policy", path="s", fingerprint="0" * 64)
    for rows in ([(0, 0.5, 2.2), (0.6, 0.7, 3.3), (1.6, 0.8, 4.0)], [(0, 0.5, 2.2), (2.4, 0.8, 3.9), (9.0, 0.6, 2.6)]):
        loop = Loop.objects.create(
            project=project, recipe="iterative-dpo", config={}, n_rounds=2, state="done", initial=start
        )
        for index, (kl, win, gold) in enumerate(rows):
            name = f"policy-{loop.pk}-{index}"
            fields = {"project": project, "name": name, "role": "policy", "path": name, "fingerprint": name}
            out = Checkpoint.objects.create(**fields) if index else start
            result = {"kl": kl, "kl_ci95": [kl * 0.95, kl * 1.05], "n_eval_prompts": 192, "n_eval_samples": 768}
            result |= {"win_rate_vs_initial": win, "win_rate_ci95": [win - 0.02, win + 0.02], "mean_length": 110}
            result |= {"gold_mean": gold, "gold_ci95": [gold - 0.1, gold + 0.1]}
            now = timezone.now()
            Round.objects.create(
                loop=loop, index=index, stage="done", output=out, result=result, started_at=now, ended_at=now
            )
    loop = Loop.objects.create(project=project, recipe="best-of-n", config={}, n_rounds=1, state="done", initial=start)
    curve = [
        {"n": n, "mean": 2.2 + k / 2, "ci95": [2.1 + k / 2, 2.3 + k / 2], "kl_bound": kl_bound(n)}
        for k, n in enumerate((1, 2, 4, 8, 16))
    ]
    result = {"gold_mean": 4.2, "gold_ci95": [4.1, 4.3], "kl": kl_bound(16), "best_of_n": curve}
    Round.objects.create(loop=loop, index=1, stage="done", result=result, ended_at=timezone.now())
    return project


@pytest.mark.parametrize("y", ["win", "gold"])
@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_the_frontier_page(ran, bob, page_for, axe, shoot, width, theme, y):
    page = page_for(bob, width=width, theme=theme)
    page.goto(f"/p/letters-test/reports/frontier/?y={y}")
    assert "falls while KL grows" in page.locator(".report-sentence").inner_text()
    drawn = page.locator("svg.chart:visible")
    assert drawn.count() == 1
    assert drawn.locator("a").count() == 6
    assert drawn.locator(".is-dotted").count() == 1
    _no_overflow(page)
    axe(page)
    shoot(page, f"frontier-{y}-{width}-{theme}")


def test_a_point_of_the_frontier_opens_its_checkpoint_without_scripts(ran, bob, page_for):
    page = page_for(bob, scripts=False)
    page.goto("/p/letters-test/reports/agreement/")
    page.get_by_role("link", name="Frontier", exact=True).click()
    page.get_by_role("link", name="Gold score").click()
    page.wait_for_url("**/frontier/?y=gold")
    page.locator("svg.chart:visible a").last.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/policies/*/")
    expect(page.get_by_role("heading", name="policy-").first).to_be_visible()


def test_a_project_without_loops_is_led_to_the_recipes(project, bob, page_for, axe):
    page = page_for(bob)
    page.goto("/p/letters-test/reports/frontier/")
    axe(page)
    page.get_by_role("link", name="Choose a recipe").click()
    page.wait_for_url("**/loops/new/")
