"""The OpenAPI document describes each operation's own body."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework.serializers import Serializer

from apps.core.api import BodySerializer

ROOT = Path(__file__).resolve().parents[3]


def test_every_view_has_its_own_body_and_answer(capsys):
    """Serializers called Input and Output in several views once shared one description."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    assert "identical names" not in capsys.readouterr().err
    bodies = document["components"]["schemas"]
    assert not {"Input", "Output"} & set(bodies)
    assert set(bodies["VoteCreateInput"]["properties"]) >= {"assignment", "choice"}
    assert set(bodies["LoopsInput"]["properties"]) >= {"recipe", "set"}
    setting = bodies["LoopsInput"]["properties"]["set"]["additionalProperties"]
    assert setting["oneOf"] == [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]


def test_the_committed_document_is_what_the_code_says():
    """After a change: python manage.py spectacular --format openapi-json --file docs/openapi.json"""
    document = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert sorted(committed["paths"]) == sorted(document["paths"])
    assert committed == document, "the API changed: write docs/openapi.json again"


@pytest.mark.django_db
def test_a_body_with_a_field_that_is_not_there_is_refused_and_nothing_is_done(api_for, erin, project):
    sent = {"recipe": "dpo", "settings": {"objective.beta": 0.2}}  # the field's name is "set"
    answer = api_for(erin).post("/api/v1/projects/letters-test/loops/", sent, format="json")
    assert answer.status_code == 400
    assert answer.json() == {"settings": ["There is no such field; there are recipe, rounds, seed, start, set."]}
    assert not project.loops.exists()


def test_every_body_refuses_what_it_does_not_have():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    assert schema["paths"]
    modules = [module for name, module in sys.modules.items() if name.startswith("apps.") and name.endswith("api")]
    bodies = [
        value
        for module in modules
        for one in [module, *(view for view in vars(module).values() if isinstance(view, type))]
        for value in vars(one).values()
        if isinstance(value, type) and issubclass(value, Serializer)
        if value.__name__.removesuffix("Serializer").endswith("Input")
    ]
    assert len(bodies) > 40
    assert [body for body in bodies if not issubclass(body, BodySerializer)] == []
