"""The whole story, as a person lives it: log in, label, overrule a judge, train, and read what changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "seven brown foxes at noon"


@pytest.fixture
def demo_letters(transactional_db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The demo project, small, seeded by its own jobs; its policy is the suite's shared one."""
    from apps.accounts.services import user_create
    from apps.dashboard.demos import demo_is_seeded, demo_seed
    from prefloop.demos import DEMOS, LETTERS
    from prefloop.worlds.letters.cache import cached_letters_policy
    from workers.foreground import run_until

    settings.STORE_DIR = tmp_path / "store"
    settings.WORKER_THREADS = 1
    monkeypatch.setitem(DEMOS, "letters", replace(LETTERS, n_train=40, n_eval=10, n_second=20))
    policy = cached_letters_policy(ROOT / "var" / "test-cache", size="tiny")
    target = settings.STORE_DIR / "letters" / "checkpoints" / LETTERS.policy
    target.parent.mkdir(parents=True)
    shutil.copytree(policy, target)
    admin = user_create(username="admin")
    demo_seed(LETTERS, owner=admin)
    run_until(lambda: demo_is_seeded(LETTERS), quiet=True)
    return admin


@pytest.mark.slow
def test_a_person_labels_overrules_trains_and_reads_what_changed(
    demo_letters: Any, page_for: Any, shoot: Any, live_server: Any
) -> None:
    from apps.accounts.services import login_link_create
    from apps.labels.models import Override, Vote
    from apps.labels.selectors import judge_labels
    from apps.projects.models import Project
    from apps.rankings.selectors import review_judge, review_queue
    from apps.reports.services import agreement_report
    from apps.training.models import Loop, SnapshotItem
    from workers.foreground import run_until

    project = Project.objects.get(slug="letters")
    before = agreement_report(project=project)
    page = page_for(None)

    # in by the one-time link, with a password of one's own
    page.goto(
        login_link_create(user=demo_letters, now=timezone.now()).replace("http://127.0.0.1:8000", live_server.url)
    )
    page.get_by_role("button").last.click()
    for box in page.locator("input[type=password]").all():
        box.fill(PASSWORD)
    page.get_by_role("main").get_by_role("button").last.click()
    page.goto("/p/letters/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/p/letters/reports/agreement/")
    said_before = page.get_by_role("main").inner_text()

    # five votes by keyboard, one taken back and given again
    page.goto("/p/letters/annotate/")
    page.wait_for_function("() => customElements.get('annotate-pair')")
    for n, key in enumerate(["1", "2", "3", "ArrowLeft", "4"], start=1):
        page.keyboard.press(key)
        _until(page, lambda n=n: _n_standing(Vote) == n)
    page.keyboard.press("u")
    _until(page, lambda: _n_standing(Vote) == 4)
    page.keyboard.press("2")
    _until(page, lambda: _n_standing(Vote) == 5)
    shoot(page, "story-annotate")

    # one verdict overruled: whatever the judge said, the opposite
    voted = set(Vote.objects.values_list("comparison_id", flat=True))
    first = next(item.comparison_id for item in review_queue(project) if item.comparison_id not in voted)
    judge = review_judge(project)
    said = judge_labels(comparison_ids=[first], judge=judge)[first].outcome
    page.goto(f"/p/letters/review/{first}/")
    page.wait_for_function("() => customElements.get('review-queue')")
    page.keyboard.press("o")
    shoot(page, "story-review")
    page.keyboard.press("1" if said == "second" else "2")
    _until(page, lambda: Override.objects.filter(kind="override").count() == 1)
    override = Override.objects.get(kind="override")
    assert (override.comparison_id, override.judge_outcome) == (first, said)

    # a loop from the page to its end
    page.goto("/p/letters/loops/")
    page.get_by_role("link", name="New loop").first.click()
    page.get_by_role("link", name="iterative-dpo").first.click()
    page.locator("[name=rounds]").fill("1")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/loops/*/")
    loop = Loop.objects.get()
    assert loop.recipe == "iterative-dpo"

    def ended() -> bool:
        loop.refresh_from_db()
        return loop.state not in ("queued", "running")

    run_until(ended, quiet=True)
    assert (loop.state, loop.error) == ("done", "")
    page.reload()
    page.get_by_text("Done").first.wait_for()
    shoot(page, "story-loop")

    # the correction is in what the round learnt from, and the page says so
    round_ = loop.rounds.get(index=1)
    item = SnapshotItem.objects.get(snapshot__training_runs__round=round_, comparison=override.comparison)
    assert item.source == "override"
    assert item.p_first == 1.0 - item.p_first_without_overrides
    assert round_.result["n_overrides"] == 1
    assert "overrid" in page.get_by_role("main").inner_text().lower()

    # and the report knows of the votes
    after = agreement_report(project=project)
    assert [rater["name"] for rater in after["raters"] if rater["kind"] == "human"] == ["admin"]
    assert before != after
    page.goto("/p/letters/reports/agreement/")
    assert page.get_by_role("main").inner_text() != said_before
    shoot(page, "story-report")


def _n_standing(vote: Any) -> int:
    rows = vote.objects.filter(superseded_by__isnull=True).exclude(choice="withdrawn")
    return int(rows.count())


def _until(page: Any, done: Any) -> None:
    """Wait for what the page does in the background, with a deadline."""
    for _ in range(150):
        if done():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"it did not happen within 15 s on {page.url}")
