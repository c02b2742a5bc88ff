"""The Python client of docs/api.md, run as it is printed, against a served project."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from apps.accounts.models import Scope
from apps.accounts.services import token_create
from apps.labels.models import Vote

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client_of_the_docs():
    text = (ROOT / "docs" / "api.md").read_text("utf-8").split("## A client\n")[1]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 11  # ten lines and the import
    names = {}
    exec(code, names)
    return names


@pytest.mark.slow
def test_it_votes_on_everything_and_reads_a_report(client_of_the_docs, live_server, ann, bob, project, make_comparison):
    pairs = [make_comparison(project, ("a kind letter", "rude")) for _ in range(3)]

    def kinder(pair):
        return "left" if "kind" in pair["left"]["text"] else "right"

    def client(person, scope):
        _, key = token_create(user=person, scope=Scope(scope))
        return client_of_the_docs["prefloop"](live_server.url, key)

    with client(ann, "annotate") as annotator, client(bob, "read") as lead:
        assert client_of_the_docs["annotate"](annotator, project.slug, kinder) == 3
        assert client_of_the_docs["annotate"](annotator, project.slug, kinder) == 0
        assert lead.get(f"projects/{project.slug}/reports/agreement/").json()["majority"]["first"] == 3
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            annotator.get(f"projects/{project.slug}/reports/agreement/").raise_for_status()
    assert Vote.objects.filter(choice="first", user=ann).count() == len(pairs)
