"""Exports as CSV and Parquet, and tables in by their columns."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from apps.exchange.exports import BadExport, export_file
from apps.exchange.files import NotATable
from apps.exchange.models import Upload
from apps.labels.models import Preference
from apps.prompts.models import Prompt

pytestmark = pytest.mark.django_db


def _pair(i, **more):
    answers = [{"text": f"=HYPERLINK({i})"}, {"text": f"b{i}"}]
    return {"id": f"r{i}", "prompt": f"+p{i}", "completions": answers, "votes": [{"rater": "x", "choice": 0}]} | more


@pytest.fixture
def labelled(bring, write_lines, project):
    rows = [_pair(i) for i in range(3)]
    for row in rows:
        row["votes"][0]["pair"] = [0, 1]
    bring(write_lines(rows))
    return project


def test_a_csv_holds_no_formula(labelled, tmp_path):
    path = tmp_path / "out.csv"
    made = export_file(project=labelled, format="trl", labels="effective", path=path, actor=None)
    assert (made.n_lines, made.n_bytes) == (3, path.stat().st_size)
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    assert rows[0] == {"prompt": "'+p0", "chosen": "'=HYPERLINK(0)", "rejected": "b0"}


def test_parquet_comes_with_a_card_and_the_same_rows(labelled, tmp_path):
    path = tmp_path / "out.parquet"
    export_file(project=labelled, format="kto", labels="human", path=path, actor=None)
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 6
    assert rows[0] == {"prompt": "+p0", "completion": "=HYPERLINK(0)", "label": True}
    card = (tmp_path / "out.README.md").read_text("utf-8")
    assert "6 rows" in card
    assert "| human | 3 |" in card
    before = path.read_bytes()
    export_file(project=labelled, format="kto", labels="human", path=path, actor=None)
    assert path.read_bytes() == before


def test_texts_beside_conversations_become_conversations(bring, write_lines, project, tmp_path):
    talk = _pair(9, prompt=[{"role": "user", "content": "hi"}])
    rows = [_pair(1), talk]
    for row in rows:
        row["votes"][0]["pair"] = [0, 1]
    bring(write_lines(rows))
    path = tmp_path / "out.parquet"
    export_file(project=project, format="trl", labels="effective", path=path, actor=None)
    found = pq.read_table(path).to_pylist()
    assert found[0]["prompt"] == [{"role": "user", "content": "+p1"}]
    assert found[0]["chosen"] == [{"role": "assistant", "content": "=HYPERLINK(1)"}]
    assert found[1]["prompt"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("format", "why"), [("records", "JSON Lines"), ("trl", "nothing to export")])
def test_what_is_no_table_leaves_no_file(project, tmp_path, format, why):
    with pytest.raises((BadExport, NotATable), match=why):
        export_file(project=project, format=format, labels="effective", path=tmp_path / "x.parquet", actor=None)
    assert list(tmp_path.glob("*x*")) == []


def test_the_browser_gets_a_zip_and_a_csv(labelled, client, make_user):
    from apps.projects.models import Membership

    person = make_user("ingrid")
    Membership.objects.create(project=labelled, user=person, role="engineer")
    client.force_login(person)
    got = client.get(f"/p/{labelled.slug}/data/export/?format=trl&as=parquet")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(got.streaming_content)))
    assert archive.namelist() == ["README.md", "data.parquet"]
    assert pq.read_table(io.BytesIO(archive.read("data.parquet"))).num_rows == 3
    got = client.get(f"/p/{labelled.slug}/data/export/?format=trl&as=csv")
    assert b"".join(got.streaming_content).startswith(b"prompt,chosen,rejected")
    assert got["Content-Disposition"].endswith('.trl.csv"')


@pytest.mark.slow
def test_the_preview_shows_answers_as_they_will_look(project, erin, client_for):
    code = "Try **this**:\n\n```python\nfor x in y:\n    f(x)\n```\n\nYours,\nTom"
    row = {"id": "a", "prompt": "# Write\nit", "completions": [{"text": code}, {"text": "No."}]}
    client, at = client_for(erin), f"/p/{project.slug}/data/uploads/"
    client.post(at, {"file": SimpleUploadedFile("mine.jsonl", (json.dumps(row) + "\n").encode())})
    page = client.get(f"{at}{Upload.objects.get(project=project).token}/").content.decode()
    assert "<h1>Write</h1>" in page
    assert "<strong>this</strong>" in page
    assert "Yours,<br>" in page
    shown = page[page.index("<pre>") : page.index("</pre>")]
    assert "\n    <span" in shown  # the indentation of code


@pytest.mark.slow
def test_a_table_is_mapped_on_the_page_and_imported(project, client, make_user):
    from apps.projects.models import Membership

    person = make_user("ingrid")
    Membership.objects.create(project=project, user=person, role="engineer")
    client.force_login(person)
    text = "ask,one,two,who_won\nq1,a,b,1\nq2,c,d,2\n"
    client.post(f"/p/{project.slug}/data/uploads/", {"file": SimpleUploadedFile("mine.csv", text.encode())})
    upload = Upload.objects.get(project=project)
    page = client.get(f"/p/{project.slug}/data/uploads/{upload.token}/")
    assert "its columns can be mapped" in page.content.decode()
    address = f"/p/{project.slug}/data/uploads/{upload.token}/map/"
    client.post(address, {"prompt": "ask", "first": "one"})
    upload.refresh_from_db()
    assert upload.mapping == {}  # half a mapping is none
    said = {
        "prompt": "ask",
        "first": "one",
        "second": "two",
        "label": "who_won",
        "first_value": "1",
        "second_value": "2",
    }
    client.post(address, said)
    page = client.get(f"/p/{project.slug}/data/uploads/{upload.token}/")
    assert "Every record can be imported" in page.content.decode()
    client.post(f"/p/{project.slug}/data/uploads/{upload.token}/import/")
    assert Prompt.objects.filter(project=project).count() == 2
    outcomes = Preference.objects.filter(comparison__project=project).order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == ["first", "second"]


def test_the_command_maps_columns(db, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ask,good,bad\nq,a,b\n")
    with pytest.raises(CommandError, match="PART=COLUMN"):
        call_command("import_records", str(path), project="tables", map=["nonsense"])
    call_command("import_records", str(path), project="tables", map=["prompt=ask", "chosen=good", "rejected=bad"])
    assert Prompt.objects.filter(project__slug="tables").count() == 1
