"""Self-rewarding in a real browser, with real workers: started from the page, watched, and its checkpoint taken."""

from __future__ import annotations

import io
import zipfile

import pytest

SMALL = {
    "rounds": "1",
    "prompts.n": "16",
    "draws.max_tokens": "48",
    "teach.eft": "240",
    "teach.ift": "8",
    "teach.writing": "120",
}


@pytest.fixture
def letters(transactional_db, make_letters_project, settings):
    settings.WORKER_THREADS = 1
    return make_letters_project("letters-own", n_labelled=16)


@pytest.mark.slow
def test_self_rewarding_from_the_form_to_the_checkpoint(letters, member, project, page_for, shoot, axe, fits):
    from apps.projects.models import Membership
    from apps.training.models import Loop
    from workers.foreground import run_until

    erin = member("erin", "engineer")
    Membership.objects.create(project=letters, user=erin, role="engineer")
    page = page_for(erin)
    page.goto("/p/letters-own/loops/")
    page.get_by_role("link", name="New loop", exact=True).click()
    page.get_by_role("link", name="self-rewarding", exact=True).click()
    assert "first learns to judge" in page.locator("[data-forecast]").inner_text()
    page.evaluate("() => document.querySelectorAll('main details').forEach(more => { more.open = true })")
    for name, value in SMALL.items():
        page.locator(f"[name='{name}']").fill(value)
    shoot(page, "self-rewarding-form")
    axe(page)
    fits(page)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/loops/*/")
    loop = Loop.objects.get()
    assert page.get_by_text("Start", exact=True).first.is_visible()  # the station of the start that is made

    def ended() -> bool:
        loop.refresh_from_db()
        return loop.state not in ("queued", "running")

    run_until(ended, quiet=True)
    assert (loop.state, loop.error) == ("done", "")
    page.reload()
    rows = page.locator("table").first
    assert "As judge" in rows.inner_text()
    accuracy = loop.rounds.get(index=1).result["judge_accuracy"]
    assert f"{100 * accuracy:.0f}" in rows.locator("tbody tr").nth(1).inner_text()
    shoot(page, "self-rewarding-loop")
    axe(page)
    fits(page)

    # the policy's own judgements are there to be read
    page.goto("/p/letters-own/judges/")
    page.get_by_role("link", name=f"self-rewarding-{loop.pk}").first.click()
    assert "Policy of this project" in page.get_by_role("main").inner_text()
    shoot(page, "self-rewarding-judge")
    axe(page)
    fits(page)

    # and the last policy can be taken away
    made = loop.rounds.get(index=1).output
    page.goto(f"/p/letters-own/loops/{loop.pk}/")
    page.get_by_role("link", name=made.name, exact=True).first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    names = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert any(name.endswith("model.safetensors") for name in names)
