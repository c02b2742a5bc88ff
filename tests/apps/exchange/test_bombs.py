"""Small files that unpack to anything: refused clearly, soon, and without costing the web process its memory."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from apps.exchange.models import Upload
from apps.prompts.models import Prompt
from tests.apps.exchange.bombs import BOMBS, all_bombs

pytestmark = pytest.mark.django_db
ALLOWED_MB = 120
ALLOWED_SECONDS = 240  # on a machine that does much else; most take one to five, the worst half a minute


def _peak_mb() -> int:
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) // 1024


@pytest.fixture
def measured():
    """measured() -> grown; grown() -> by how many MB this process was larger at its largest since then."""

    def begin():
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is
        except OSError:
            pytest.skip("the peak of this process can't be read here")
        before = _peak_mb()
        return lambda: _peak_mb() - before

    return begin


QUICK = ("repeated_text", "ten_billion_rows", "many_columns")


@pytest.mark.parametrize(
    ("name", "times"),
    [
        pytest.param(name, times, marks=() if times == 1 and name in QUICK else pytest.mark.slow)
        for name, times in all_bombs()
    ],
)
def test_a_bomb_is_refused_on_the_page(project, erin, client_for, tmp_path, measured, name, times):
    path = BOMBS[name](tmp_path, times)
    content = path.read_bytes()
    client = client_for(erin)
    grown = measured()
    started = time.monotonic()
    sent = client.post("/p/letters-test/data/uploads/", {"file": SimpleUploadedFile(path.name, content)}, follow=True)
    page = sent.content.decode()
    assert sent.status_code == 200
    assert any(said in page for said in ("be read.", "problem", "No known format."))
    assert "Import 1" not in page
    assert len(page) < 200_000
    upload = Upload.objects.get()
    assert client.post(f"/p/letters-test/data/uploads/{upload.token}/import/").status_code == 302
    assert not Prompt.objects.exists()
    assert time.monotonic() - started < ALLOWED_SECONDS
    assert grown() < ALLOWED_MB + 8 * len(content) // 2**20  # the test's own copies of what it sends


@pytest.mark.slow
def test_a_bomb_is_refused_by_the_command_in_one_line(tmp_path, measured):
    path = BOMBS["repeated_text"](tmp_path, 10)
    grown = measured()
    said = io.StringIO()
    with pytest.raises(CommandError, match=r"text\.parquet: unpacks to more than 64,000,000 bytes"):
        call_command("import_records", str(path), project="fresh", stderr=said)
    assert grown() < ALLOWED_MB
    assert not Prompt.objects.exists()


@pytest.mark.parametrize("depth", [300, 2_000, 100_000])
def test_deep_json_is_refused_by_the_api_by_its_line(project, erin, api_for, depth):
    deep = b'{"id": "a", "prompt": "p", "completions": [], "metadata": {"a": ' + b"[" * depth + b"]" * depth + b"}}\n"
    answer = api_for(erin).post("/api/v1/projects/letters-test/records/", deep, content_type="application/x-ndjson")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["line"] == 1


def test_a_record_of_too_many_values_is_refused_by_its_line(project, erin, api_for):
    body = b'{"id": "a", "prompt": "p", "completions": [], "metadata": {"a": [' + b"[]," * 600_000 + b"[]]}}\n"
    answer = api_for(erin).post("/api/v1/projects/letters-test/records/", body, content_type="application/x-ndjson")
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (400, "has more than 500,000 values")


def test_a_file_that_needs_more_memory_than_the_operator_gives_says_so(project, erin, client_for, settings, tmp_path):
    settings.READER_MEMORY_MB = 8
    rows = b'{"prompt": "p", "chosen": "' + b"x" * 15_000_000 + b'", "rejected": "n"}\n'
    page = client_for(erin).post(
        "/p/letters-test/data/uploads/", {"file": SimpleUploadedFile("rows.jsonl", rows)}, follow=True
    )
    assert "rows.jsonl needs more than 11 MB of memory" in page.content.decode()
