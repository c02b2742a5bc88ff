"""The Data page in a real browser: choose a file, look at it, import it, take labels out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from apps.jobs.drain import drain
from tests.prefloop.model_sources.small_hub import small_hub

pytestmark = pytest.mark.django_db(transaction=True)
LOOKS = [("wide", "light"), ("phone", "dark")]


@pytest.fixture(autouse=True)
def own_var(settings, tmp_path):
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()


@pytest.fixture
def a_file(tmp_path):
    """a_file(broken=False) -> a file of five preferences, the third of them broken where asked."""

    def make(*, broken=False):
        rows = [
            {
                "id": f"q{i}",
                "prompt": f"Thank Maria ({i}). <img src=x onerror=alert(1)>",
                "completions": [{"text": "Dear Maria"}, {"text": "Hey" if not (broken and i == 2) else 7}],
                "votes": [{"rater": "ann", "choice": 0}],
            }
            for i in range(5)
        ]
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_bring_a_file_in_and_take_labels_out(project, erin, page_for, a_file, axe, shoot, width, theme):
    page = page_for(erin, width=width, theme=theme)
    page.goto("/p/letters-test/data/")
    axe(page)
    page.set_input_files("#file", a_file())
    assert "pairs.jsonl" in page.locator("file-drop").inner_text()
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.get_by_text("Every record can be imported.")).to_be_visible()
    assert page.locator("article").count() == 5
    assert (
        "First answer preferred (ann)" in page.locator("article").first.inner_text()
    )  # what will count as the better answer
    axe(page)
    shoot(page, f"data-preview-{width}-{theme}")
    page.get_by_role("button", name="Import 5 records").click()
    expect(page.get_by_text("5 records are imported.")).to_be_visible()
    page.get_by_role("link", name="Preferences trl").click()
    assert '"chosen":"Dear Maria"' in page.get_by_role("group", name="First lines").inner_text()
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "letters-test.trl.jsonl"
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert len(lines) == 5
    shoot(page, f"data-{width}-{theme}")


def test_a_broken_line_is_named_and_nothing_comes_in(project, erin, page_for, a_file, axe):
    page = page_for(erin)
    page.goto("/p/letters-test/data/")
    page.set_input_files("#file", a_file(broken=True))
    page.get_by_role("button", name="Preview", exact=True).click()
    row = page.get_by_role("row", name="line 3")
    assert "completions[1].text is not a string" in row.inner_text()
    assert page.get_by_role("button", name="Import").count() == 0
    axe(page)
    page.get_by_role("button", name="Remove the file").click()
    expect(page.get_by_text("Nothing was imported")).to_be_visible()


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_a_data_set_of_a_hub_is_fetched_while_one_watches(
    project, erin, page_for, axe, shoot, fits, monkeypatch, tmp_path, width, theme
):
    with small_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "0")
        row = {"prompt": "Thank Maria", "chosen": "Dear Maria", "rejected": "Hey"}
        hub.repositories["datasets/acme/pairs"] = {"train.jsonl": (json.dumps(row) + "\n").encode()}
        page = page_for(erin, width=width, theme=theme)
        page.goto("/p/letters-test/data/")
        page.get_by_label("Or a data set on a hub").fill("hf:acme/pairs")
        fits(page)
        shoot(page, f"data-hub-{width}-{theme}")
        page.get_by_role("button", name="Fetch").click()
        page.get_by_text("waiting for a worker").wait_for()
        axe(page)
        drain(["cpu"], worker_name="test")
        page.get_by_role("link", name="Show the preview").wait_for()
        axe(page)
        fits(page)
        shoot(page, f"data-hub-fetched-{width}-{theme}")
        page.get_by_role("link", name="Show the preview").click()
    page.get_by_role("button", name="Import 1 record").click()
    expect(page.get_by_text("1 record is imported.")).to_be_visible()


def test_the_whole_way_without_scripts(project, erin, page_for, a_file):
    page = page_for(erin, scripts=False)
    page.goto("/p/letters-test/data/")
    page.set_input_files("#file", a_file())
    page.get_by_role("button", name="Preview", exact=True).click()
    page.get_by_role("button", name="Import 5 records").click()
    expect(page.get_by_text("5 records are imported.")).to_be_visible()


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_what_a_file_holds_beside_its_labels_is_said(project, erin, page_for, axe, shoot, fits, width, theme):
    cases = Path(__file__).parents[1] / "prefloop" / "formats" / "cases"
    page = page_for(erin, width=width, theme=theme)
    page.goto("/p/letters-test/data/")
    page.set_input_files("#file", cases / "c06_argilla_rating.json")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.get_by_text("Parts of this file are not read as labels.")).to_be_visible()
    expect(page.get_by_text("'quality_of_prompt' that do not compare the answers")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"data-notes-{width}-{theme}")
    page.get_by_role("button", name="Import 2 records").click()
    expect(page.get_by_text("'quality_of_prompt' that do not compare the answers").first).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"data-notes-after-{width}-{theme}")
