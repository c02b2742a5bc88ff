"""The OpenAPI document describes each operation's own body."""

from __future__ import annotations

from drf_spectacular.generators import SchemaGenerator


def test_every_view_has_its_own_body_and_answer():
    """Serializers called Input and Output in several views once shared one description."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    bodies = document["components"]["schemas"]
    assert not {"Input", "Output"} & set(bodies)
    assert set(bodies["VoteCreateInput"]["properties"]) >= {"assignment", "choice"}
    assert set(bodies["LoopCreateInput"]["properties"]) >= {"recipe", "set"}
    setting = bodies["LoopCreateInput"]["properties"]["set"]["additionalProperties"]
    assert setting["oneOf"] == [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
