"""Bodies that nobody sends by mistake: refused with a reason, never an error of the server."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (r'{"\ud800": 1}', "half of a character"),
        (r'{"share": "\udfff"}', "half of a character"),
        ('{"share": 1e999}', "a number that is too large"),
        ('{"share": ' + "[" * 100_000 + "}", "nested too deeply"),
        ('{"share": 1', "JSON parse error"),
    ],
)
def test_a_body_that_no_answer_could_hold_is_refused(project, bob, api_for, body, says):
    answer = api_for(bob).patch(f"{AT}gold/", body, content_type="application/json")
    assert (answer.status_code, says in answer.json()["detail"]) == (400, True), answer.content
