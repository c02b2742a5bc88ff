"""A loop of each family, as a person lives it: started from the page, watched, overridden, finished, taken away.

The workers, the training process and the judge are the real ones, on a small letters world.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field

import pytest

from apps.labels.models import Judge, Override
from apps.labels.selectors import judge_labels
from apps.samples.models import Comparison
from apps.training.models import Loop, SnapshotItem, TrainingRun
from apps.training.rounds.labels import round_origin
from workers.foreground import run_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
JUDGE = "world-preference"  # the world itself judges: no reward model has to be made first


@dataclass(frozen=True)
class Family:
    """`settings` are typed or chosen on the form. `gate`: people are asked in a round, else between two rounds."""

    recipe: str
    rounds: int
    gate: bool
    settings: dict[str, str] = field(default_factory=dict)


# Another family is another line: its test starts it, overrides one label and takes its last checkpoint away.
FAMILIES = {
    "offline": Family("ipo", 1, True, {"objective.batch": "8", "review.mode": "sample", "review.budget": "2"}),
    "round": Family(
        "iterative-dpo",
        1,
        True,
        {
            "prompts.n": "8",
            "draws.n": "3",
            "draws.max_tokens": "24",
            "score.judge": JUDGE,
            "review.mode": "sample",
            "review.budget": "2",
            "objective.batch": "4",
        },
    ),
    "step": Family(
        "oaif-dpo",
        2,
        False,
        {"prompts.n": "8", "draws.max_tokens": "24", "label.judge": JUDGE, "objective.batch": "4"},
    ),
}


@pytest.fixture
def letters(make_letters_project, settings):
    settings.WORKER_THREADS = 1
    return make_letters_project("families", n_train=12, n_eval=4, n_labelled=12)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_loop_of_the_family_is_started_watched_overridden_finished_and_taken_away(
    letters, member, page_for, shoot, tmp_path, name
):
    family = FAMILIES[name]
    erin = member("engineer", "engineer", of=letters)
    page = page_for(erin)
    loop = started(page, family)

    # the worker goes as far as the first thing that is asked of people; the page follows without being loaded again
    run_until(lambda: waits(loop) if family.gate else round_done(loop, 1), quiet=True)
    page.wait_for_function(
        "word => document.querySelector('.loop-top').innerText.includes(word)",
        arg="Waiting for people" if family.gate else "round 2 of 2",
    )
    if not family.gate:  # it has learnt for a block: its curves are there
        page.locator("figure.curve canvas").first.wait_for()

    chosen = overridden(page, loop, family)
    shoot(page, f"family-{name}-overridden")
    page.goto(f"/p/families/loops/{loop.pk}/")
    run_until(lambda: ended(loop), quiet=True)
    assert (loop.state, loop.error) == ("done", "")
    page.locator(".loop-line .status-done").wait_for()
    page.locator("figure.curve canvas").first.wait_for()
    page.get_by_text("comes from people’s overrides").first.wait_for()
    shoot(page, f"family-{name}-done")

    # the correction is in what the last round learnt from
    last = loop.rounds.order_by("index").last()
    run = TrainingRun.objects.filter(round=last).latest("pk")
    frozen = SnapshotItem.objects.get(snapshot=run.snapshot, comparison=chosen.comparison)
    assert (frozen.source, frozen.p_first) == ("override", float(chosen.choice == "first"))
    assert last.result["n_overrides"] == 1

    # the checkpoint, from the table of rounds to a file
    page.get_by_role("link", name=last.output.name, exact=True).first.click()
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download", exact=True).click()
    path = tmp_path / "taken.zip"
    coming.value.save_as(path)
    with zipfile.ZipFile(path) as taken:
        names = {one.rsplit("/", 1)[-1] for one in taken.namelist()}
        assert taken.testzip() is None
        card = next(one for one in taken.namelist() if one.endswith("README.md"))
        assert family.recipe in taken.read(card).decode()
    assert {"model.safetensors", "config.json", "tokenizer.json", "manifest.json"} <= names


def started(page, family):
    page.goto("/p/families/loops/")
    page.get_by_role("link", name="New loop", exact=True).click()
    page.get_by_role("link", name=family.recipe, exact=True).click()
    for summary in page.locator("details.part-more > summary").all():
        summary.click()
    if family.rounds > 1:
        page.get_by_label("Rounds", exact=True).fill(str(family.rounds))
    elif not page.get_by_label("Rounds", exact=True).is_disabled():
        page.get_by_label("Rounds", exact=True).fill("1")
    for key, value in family.settings.items():
        control = page.locator(f"[name='{key}']")
        if control.evaluate("element => element.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/families/loops/*/")
    loop = Loop.objects.get()
    assert (loop.recipe, loop.chosen) == (family.recipe, family.settings)
    return loop


def overridden(page, loop, family):
    """Overrule the judge on one pair by keyboard, and agree with it on what else is asked."""
    judge = Judge.objects.get(project=loop.project, name=JUDGE)
    if family.gate:
        page.locator("#gate-review").click()
    else:
        origin = round_origin(loop, 1)
        labels = judge_labels(
            comparison_ids=list(Comparison.objects.filter(origin=origin).values_list("id", flat=True)), judge=judge
        )
        sure = next(pk for pk, label in sorted(labels.items()) if label.outcome in ("first", "second"))
        page.goto(f"/p/families/review/{sure}/?judge={JUDGE}")
    page.wait_for_function("() => customElements.get('review-queue')")
    shown = int(page.locator("[data-item]").get_attribute("data-id"))
    said = judge_labels(comparison_ids=[shown], judge=judge)[shown].outcome
    page.keyboard.press("o")
    page.keyboard.press("1" if said == "second" else "2")
    until(page, lambda: Override.objects.filter(kind="override").count() == 1)
    if family.gate:
        page.wait_for_function("id => Number(document.querySelector('[data-item]').dataset.id) !== id", arg=shown)
        page.keyboard.press("Enter")
        until(page, lambda: Override.objects.count() == 2)
    chosen = Override.objects.get(kind="override")
    assert (chosen.comparison_id, chosen.judge_outcome) == (shown, said)
    return chosen


def waits(loop):
    loop.refresh_from_db()
    assert loop.state not in ("failed", "cancelled", "done"), loop.error
    return loop.state == "waiting"


def round_done(loop, index):
    loop.refresh_from_db()
    assert loop.state not in ("failed", "cancelled"), loop.error
    return loop.rounds.filter(index=index + 1).exists()


def ended(loop):
    loop.refresh_from_db()
    return loop.state in ("done", "failed", "cancelled")  # at the gate it waits until a worker looks again


def until(page, done):
    """Wait for what the page does in the background, with a deadline."""
    for _ in range(150):
        if done():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"it did not happen within 15 s on {page.url}")
