"""Files that people bring, by the command and by the page: what comes in, what is said, and what is refused."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from apps.exchange.models import ImportNote, Upload
from apps.labels.models import Ranking, Vote
from apps.projects.models import Project
from apps.prompts.models import Prompt

pytestmark = pytest.mark.django_db
CASES = Path(__file__).parents[2] / "prefloop" / "formats" / "cases"
# name: records, votes, rankings and notes that come in; None: refused
EXPECTED = {
    "c01_instruction.jsonl": (2, 0, 0, 0), "c01b_orca.jsonl": (1, 0, 0, 0), "c02_system.jsonl": (1, 0, 0, 0),
    "c03_parts.jsonl": (1, 0, 0, 0), "c04_tools.jsonl": None, "c04b_tools_null.jsonl": None,
    "c05_argilla_rank_values.json": (2, 0, 2, 0), "c06_argilla_rating.json": (2, 1, 0, 1),
    "c07b_argilla_suggested_ranking.json": (1, 0, 1, 0), "c08_argilla_status.json": (1, 0, 1, 2),
    "c08b_argilla_ranking.json": (1, 0, 2, 0), "c11_ls_ranker.json": (1, 1, 0, 0), "c11b_ls_rating.json": (1, 0, 0, 1),
    "c14d_all_nan.jsonl": None, "c16b_nul.jsonl": None, "c16c_surrogate.jsonl": None, "c16f_bigint.jsonl": None,
    "c16i_nul.csv": None, "c17_spaces.jsonl": (3, 0, 0, 1), "c27b_struct_of_lists.parquet": (1, 0, 0, 0),
    "c27c_bytes.parquet": (1, 0, 0, 1), "c27d_json_text.jsonl": (1, 0, 0, 0), "c28c_cp1252.csv": None,
    "c29b_dup_ids.csv": None, "c31b_raters_ids.csv": (6, 18, 0, 0), "c32_ls_duplicates.json": (1, 2, 0, 1),
}  # fmt: skip


def test_every_case_is_expected():
    assert {path.name for path in CASES.iterdir()} == EXPECTED.keys()


def counts():
    return (
        Prompt.objects.count(),
        Vote.objects.filter(ranking__isnull=True).count(),
        Ranking.objects.count(),
        ImportNote.objects.count(),
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_each_case_by_the_command(name):
    out = StringIO()
    if EXPECTED[name] is None:
        with pytest.raises(CommandError, match=r"(line|row) \d: "):
            call_command("import_records", str(CASES / name), project="mine", stderr=StringIO())
        assert not Project.objects.exists()
        return
    call_command("import_records", str(CASES / name), project="mine", stdout=out)
    assert counts() == EXPECTED[name]
    assert out.getvalue().count("Note: ") == EXPECTED[name][3]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_each_case_by_the_page(name, project, erin, client_for):
    client, page = client_for(erin), f"/p/{project.slug}/data/uploads/"
    client.post(page, {"file": SimpleUploadedFile(name, (CASES / name).read_bytes())})
    upload = Upload.objects.get()
    shown = client.get(f"{page}{upload.token}/").content.decode()
    assert upload.token not in shown.replace(f"/{upload.token}/", "")
    sent = client.post(f"{page}{upload.token}/import/", follow=True).content.decode()
    if EXPECTED[name] is None:
        assert counts() == (0, 0, 0, 0)
        return
    assert counts() == EXPECTED[name]
    for note in ImportNote.objects.all():
        assert note.text.split("'")[0] in shown
        assert note.text.split("'")[0] in sent


def test_a_file_of_ratings_says_that_it_gives_no_label(tmp_path):
    answers = [{"model": f"m{i}", "response": str(i), "overall_score": i, "annotations": {}} for i in range(2)]
    path = tmp_path / "uf.jsonl"
    path.write_text(json.dumps({"instruction": "Q", "completions": answers}))
    out, told = StringIO(), StringIO()
    call_command("import_records", str(path), project="mine", stdout=out)
    assert "nothing in this file says which answer is better: 1" in out.getvalue()
    call_command("export_preferences", project="mine", format="trl", out=str(tmp_path / "o"), stdout=out, stderr=told)
    assert "the file is empty: there is nothing to export in the format trl: 1 is left out" in told.getvalue()


def test_an_export_of_nothing_says_so_on_the_page(project, erin, client_for):
    page = client_for(erin).get(f"/p/{project.slug}/data/export/?format=trl", follow=True)
    assert "there is nothing to export: the project has no comparison yet" in page.content.decode()


@pytest.mark.slow
def test_a_named_encoding_is_kept_with_the_upload(project, erin, client_for):
    client, page = client_for(erin), f"/p/{project.slug}/data/uploads/"
    content = (CASES / "c28c_cp1252.csv").read_bytes()
    client.post(page, {"file": SimpleUploadedFile("mine.csv", content)})
    upload = Upload.objects.get()
    assert "encoding=cp1252" in client.get(f"{page}{upload.token}/").content.decode()
    client.post(f"{page}{upload.token}/map/", {"encoding": "cp1252"})
    assert "café" in client.get(f"{page}{upload.token}/").content.decode()
    client.post(f"{page}{upload.token}/import/")
    assert Prompt.objects.get().completions.filter(text="café").exists()


@pytest.mark.slow
def test_a_zip_of_a_directory_comes_in_by_command_and_page(tmp_path, project, erin, client_for):
    folder = tmp_path / "bar"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps([{"input": "i", "output_1": "a", "output_2": "b", "label": 2}]))
    made = Path(shutil.make_archive(str(tmp_path / "bar"), "zip", folder))
    call_command("import_records", str(folder), project="one", stdout=StringIO())
    call_command("import_records", str(made), project="one", stdout=StringIO())
    assert Prompt.objects.filter(project__slug="one").count() == 1  # the same ids, the same content
    client, page = client_for(erin), f"/p/{project.slug}/data/uploads/"
    client.post(page, {"file": SimpleUploadedFile("bar.zip", made.read_bytes())})
    token = Upload.objects.get().token
    assert "llmbar" in client.get(f"{page}{token}/").content.decode()
    client.post(f"{page}{token}/import/")
    assert Prompt.objects.get(project=project).external_id == "bar-0001"
