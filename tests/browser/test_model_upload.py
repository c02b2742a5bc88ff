"""A model uploaded from the import page in a real browser: sent, interrupted, gone on, checked, imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.policies.models import Checkpoint
from apps.policies.uploads import upload_list

pytestmark = pytest.mark.django_db(transaction=True)
LOOKS = [("wide", "light"), ("phone", "dark")]


@pytest.fixture(autouse=True)
def own_folders(settings, tmp_path):
    settings.STORE_DIR, settings.IMPORT_DIRS = tmp_path / "store", [tmp_path / "imports"]


@pytest.fixture
def files(letters_policy_dir):
    return sorted(file for file in Path(letters_policy_dir).iterdir() if file.name != "manifest.json")


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_a_model_is_uploaded_although_the_connection_fails_and_is_imported(
    project, erin, page_for, axe, shoot, fits, files, width, theme
):
    page = page_for(erin, width=width, theme=theme)
    failures = []

    def fail_twice(route):
        if len(failures) < 2:
            failures.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/policies/uploads/letters/?file=model.safetensors*", fail_twice)
    page.goto("/p/letters-test/policies/import/")
    axe(page)
    fits(page)
    page.get_by_label("Files").set_input_files(files)
    page.get_by_label("Name of the upload").fill("letters")
    shoot(page, f"upload-{width}-{theme}")
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_text("The upload has arrived").wait_for()
    assert len(failures) == 2
    page.problems.clear()  # the aborted requests
    assert page.get_by_label("Model", exact=True).input_value() == "uploads/letters"
    axe(page)
    fits(page)
    shoot(page, f"upload-arrived-{width}-{theme}")
    page.goto("/p/letters-test/policies/import/")
    page.locator("#upload-title").scroll_into_view_if_needed()
    axe(page)
    fits(page)
    shoot(page, f"upload-waiting-{width}-{theme}")
    page.get_by_role("link", name="Import it letters").click()
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("What it is and takes").wait_for()
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("letters is imported.").wait_for()
    assert Checkpoint.objects.get().name == "letters"
    assert upload_list(project) == []


def test_a_stopped_upload_is_shown_and_a_refusal_is_said(project, erin, page_for, files, tmp_path):
    page = page_for(erin)
    page.route("**/uploads/half/finish/", lambda route: route.abort())
    page.goto("/p/letters-test/policies/import/")
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_text("Choose the files first.").wait_for()
    pickle = tmp_path / "pytorch_model.bin"
    pickle.write_bytes(b"x")
    page.get_by_label("Files").set_input_files([pickle])
    page.get_by_label("Name of the upload").fill("half")
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_text("pytorch_model.bin can't be used").wait_for()
    page.get_by_label("Files").set_input_files(files)
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_text("The connection was lost: trying again").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Send the same files again to go on from here.").wait_for()
    page.problems.clear()  # the aborted requests, and the refusal
    page.reload()
    item = page.get_by_role("list", name="Uploads that are not imported yet").get_by_role("listitem")
    assert "half" in item.inner_text()
    item.get_by_role("button", name="Remove half").click()
    page.get_by_text("The upload half is removed.").wait_for()
