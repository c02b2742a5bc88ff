"""The OpenAPI document describes each operation's own body."""

from __future__ import annotations

import json
from pathlib import Path

from drf_spectacular.generators import SchemaGenerator

ROOT = Path(__file__).resolve().parents[3]


def test_every_view_has_its_own_body_and_answer():
    """Serializers called Input and Output in several views once shared one description."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    bodies = document["components"]["schemas"]
    assert not {"Input", "Output"} & set(bodies)
    assert set(bodies["VoteCreateInput"]["properties"]) >= {"assignment", "choice"}
    assert set(bodies["LoopCreateInput"]["properties"]) >= {"recipe", "set"}
    setting = bodies["LoopCreateInput"]["properties"]["set"]["additionalProperties"]
    assert setting["oneOf"] == [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]


def test_the_committed_document_is_what_the_code_says():
    """After a change: python manage.py spectacular --format openapi-json --file docs/openapi.json"""
    document = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert sorted(committed["paths"]) == sorted(document["paths"])
    assert committed == document, "the API changed: write docs/openapi.json again"
