"""What the client reads from an answer, when it asks again, and what it says of trouble."""

from __future__ import annotations

import datetime
import json
import threading
from typing import Any

import pytest

from prefloop.judging.breaker import CircuitBreaker
from prefloop.judging.client import Limits
from prefloop.judging.errors import (
    JudgeBadAnswer,
    JudgeError,
    JudgeRefused,
    JudgeRejectedItem,
    JudgeUnreachable,
)

ASK = [{"role": "user", "content": "A or B?"}]


def test_a_chat_completion_is_read(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion("so [[A]]")))
    reply = kit.endpoint(server).chat(ASK, temperature=0.5, max_tokens=9, seed=3)
    assert reply.text == "so [[A]]"
    assert reply.usage == {"total_tokens": 7}
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"Authorization: Bearer sk-canary" in head
    assert json.loads(body) == {
        "model": "some-model", "messages": ASK, "temperature": 0.5, "max_tokens": 9, "seed": 3,
    }  # fmt: skip


def test_the_log_probs_of_the_first_token_are_read(kit: Any) -> None:
    answer = kit.completion("A")
    top = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2}, {"token": 3}, "x"]
    answer["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}
    reply = kit.endpoint(kit.serve(kit.http(answer))).chat(ASK, logprobs=True, top_logprobs=5)
    assert [(entry.token, entry.logprob) for entry in reply.top_logprobs] == [("A", -0.1), ("B", -2.0)]


def test_the_models_are_listed(kit: Any) -> None:
    server = kit.serve(kit.http({"object": "list", "data": [{"id": "one"}, {"id": "two"}]}))
    assert kit.endpoint(server).models() == ["one", "two"]
    assert server.requests[0].startswith(b"GET /v1/models ")


# -- retries ----------------------------------------------------------------------------------------------------------


def test_retry_after_is_honoured(kit: Any) -> None:
    busy = kit.http({"error": {"message": "slow down"}}, status="429 Too Many Requests", Retry_After="7")
    server = kit.serve(busy, busy, kit.http(kit.completion("at last")))
    endpoint = kit.endpoint(server, limits=Limits(total_seconds=60))
    assert endpoint.chat(ASK).text == "at last"
    assert kit.waits == [7.0, 7.0]


def test_retry_after_may_be_a_date(kit: Any) -> None:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=20)
    busy = kit.http("", status="503 Busy", Retry_After=at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    kit.endpoint(kit.serve(busy, kit.http(kit.completion())), limits=Limits(total_seconds=60)).chat(ASK)
    assert 15 < kit.waits[0] <= 20


def test_a_retry_after_beyond_the_bound_is_left_to_the_caller(kit: Any) -> None:
    server = kit.serve(kit.http("", status="429 Too Many Requests", Retry_After="3600"))
    with pytest.raises(JudgeUnreachable) as caught:
        kit.endpoint(server).chat(ASK)
    assert caught.value.retry_after == 3600
    assert not caught.value.per_item
    assert kit.waits == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("nonsense", ["soon", "-5", "nan", "inf", "Mon, 99 Foo 2020"])
def test_a_retry_after_that_is_nonsense_is_ignored(kit: Any, nonsense: str) -> None:
    busy = kit.http("", status="503 Busy", Retry_After=nonsense)
    kit.endpoint(kit.serve(busy, kit.http(kit.completion()))).chat(ASK)
    assert 0.25 <= kit.waits[0] <= 0.5


def test_waits_double_with_jitter(kit: Any) -> None:
    server = kit.serve(kit.http("", status="500 Oops"))
    with pytest.raises(JudgeUnreachable, match="answered 500"):
        kit.endpoint(server, limits=Limits(attempts=5, total_seconds=60)).chat(ASK)
    assert len(kit.waits) == 4
    for n, wait in enumerate(kit.waits):
        assert 0.25 * 2**n <= wait <= 0.5 * 2**n


def test_half_a_json_text_is_asked_for_again(kit: Any) -> None:
    server = kit.serve(kit.http('{"choices": [{"mess'), kit.http(kit.completion("whole")))
    assert kit.endpoint(server).chat(ASK).text == "whole"


def test_a_body_cut_off_in_the_middle_is_asked_for_again(kit: Any) -> None:
    cut = kit.http(kit.completion("whole"))[:-10]
    server = kit.serve(cut, kit.http(kit.completion("whole")))
    assert kit.endpoint(server).chat(ASK).text == "whole"


# -- what is said of bad answers --------------------------------------------------------------------------------------

HTML = "<!doctype html><title>Welcome</title><script>alert(1)</script>"


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json"])
def test_html_is_named_as_such(kit: Any, kind: str) -> None:
    server = kit.serve(kit.http(HTML, kind=kind))
    with pytest.raises(JudgeBadAnswer) as caught:
        kit.endpoint(server).chat(ASK)
    assert str(caught.value) == (
        f"the endpoint 127.0.0.1:{server.port} answered HTML, not JSON: "
        f"is {server.url} an OpenAI-compatible /v1 base URL?"
    )
    assert caught.value.excerpt.startswith("<!doctype")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{", "half a JSON"),
        ("not json", "no JSON"),
        ("", "no JSON"),
        ("[]", "no choices"),
        ("{}", "no choices"),
        ("null", "no choices"),
        ('{"choices": []}', "no choices"),
        ('{"choices": [1]}', "no choices"),
        ('{"choices": [{"text": "[[A]]"}]}', "no message"),
        ('{"choices": [{"message": {"content": 3}}]}', "content is not text"),
        ('{"error": {"message": "model not loaded"}}', "model not loaded"),
        ('{"choices": ' + "[" * 800 + "]" * 800 + "}", "no choices"),
        ('{"choices": ' + "[" * 90_000, "JSON"),
    ],
)
def test_a_wrong_answer_is_told_in_one_line(kit: Any, body: str, told: str) -> None:
    with pytest.raises(JudgeBadAnswer, match=told) as caught:
        kit.endpoint(kit.serve(kit.http(body))).chat(ASK)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", JudgeRefused),
        ("403 Forbidden", JudgeRefused),
        ("400 Bad Request", JudgeRejectedItem),
        ("422 Unprocessable", JudgeRejectedItem),
        ("404 Not Found", JudgeBadAnswer),
        ("405 Method Not Allowed", JudgeBadAnswer),
        ("503 Unavailable", JudgeUnreachable),
    ],
)
def test_a_status_becomes_its_error_and_the_key_is_never_repeated(
    kit: Any, status: str, error: type[JudgeError]
) -> None:
    server = kit.serve(kit.http({"error": {"message": "bad key sk-canary\x1b[31m\nsecond line"}}, status=status))
    with pytest.raises(error) as caught:
        kit.endpoint(server).chat(ASK)
    told = str(caught.value) + getattr(caught.value, "excerpt", "")
    assert status[:3] in told
    assert "sk-canary" not in told
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_used_up_quota_is_a_refusal_and_not_asked_again(kit: Any) -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    server = kit.serve(kit.http(body, status="429 Too Many Requests"))
    with pytest.raises(JudgeRefused):
        kit.endpoint(server).chat(ASK)
    assert len(server.requests) == 1


def test_nobody_listening_is_unreachable(kit: Any) -> None:
    server = kit.serve(kit.http(""))
    endpoint = kit.endpoint(server)
    server.close()
    with pytest.raises(JudgeUnreachable, match="cannot be reached") as caught:
        endpoint.chat(ASK)
    assert not caught.value.per_item


@pytest.mark.parametrize(
    "extra", [{"tool_calls": [{"id": "1"}]}, {"refusal": "I won't"}, {"function_call": {"name": "f"}}]
)
def test_a_tool_call_or_a_refusal_has_no_text_even_where_it_carries_a_label(kit: Any, extra: dict[str, Any]) -> None:
    reply = kit.endpoint(kit.serve(kit.http(kit.completion("[[A]]", **extra)))).chat(ASK)
    assert reply.text == ""
    assert json.loads(reply.raw) == {"role": "assistant", "content": "[[A]]", **extra}


def test_a_key_with_a_line_break_is_refused_before_anything_is_sent(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion()))
    with pytest.raises(JudgeRefused) as caught:
        kit.endpoint(server, api_key="sk-canary\r\nX-Evil: 1")
    assert "sk-canary" not in str(caught.value)


def test_the_key_is_not_in_the_endpoints_repr(kit: Any) -> None:
    assert "sk-canary" not in repr(kit.endpoint(kit.serve(kit.http(""))))


def test_text_that_utf8_cannot_carry_is_sent_all_the_same(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion()))
    kit.endpoint(server).chat([{"role": "user", "content": "a\ud800b\x00"}])
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["messages"][0]["content"] == "a\ud800b\x00"


# -- the breaker ------------------------------------------------------------------------------------------------------


def test_after_failures_in_a_row_an_endpoint_is_left_alone_then_tried_once(kit: Any) -> None:
    now = [0.0]
    breaker = CircuitBreaker(threshold=2, rest_seconds=30, clock=lambda: now[0])
    down = kit.http("", status="503 Busy")
    server = kit.serve(down, down, down, kit.http(kit.completion("back")))
    endpoint = kit.endpoint(server, breaker=breaker, limits=Limits(attempts=1))
    for _ in range(2):
        with pytest.raises(JudgeUnreachable, match="503"):
            endpoint.chat(ASK)
    with pytest.raises(JudgeUnreachable, match="2 times in a row") as caught:
        endpoint.chat(ASK)
    assert caught.value.retry_after == 30
    assert len(server.requests) == 2
    now[0] = 31  # half open: one call, which fails, opens it again
    with pytest.raises(JudgeUnreachable, match="503"):
        endpoint.chat(ASK)
    with pytest.raises(JudgeUnreachable, match="in a row"):
        endpoint.chat(ASK)
    now[0] = 62
    assert endpoint.chat(ASK).text == "back"
    assert endpoint.chat(ASK).text == "back"


def test_while_half_open_only_one_call_is_let_through() -> None:
    now = [0.0]
    breaker = CircuitBreaker(threshold=1, rest_seconds=5, clock=lambda: now[0])
    breaker.failed()
    now[0] = 6
    breaker.check("x")
    with pytest.raises(JudgeUnreachable):
        breaker.check("x")
    breaker.succeeded()
    breaker.check("x")


def test_an_endpoint_is_shared_by_threads(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion("[[B]]")))
    endpoint = kit.endpoint(server)
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(endpoint.chat(ASK).text)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert said == ["[[B]]"] * 16
    assert len(server.requests) == 16
