"""What is kept of an answer's text, wherever it comes from."""

from __future__ import annotations

import pytest

from prefloop.answers import storable
from prefloop.judging.replies import chat_reply, text_reply
from prefloop.policy.prompts import decode_completion
from prefloop.policy.tiny import byte_tokenizer


@pytest.mark.parametrize(("text", "kept"), [("a\0b", "a\ufffdb"), ("é \ud83d!", "é ???!"), ("é", "é"), ("", "")])
def test_what_databases_cannot_store_is_replaced(text: str, kept: str) -> None:
    assert storable(text) == kept.replace("???", "\ufffd" * 3)
    storable(text).encode()


def test_a_model_that_writes_a_nul_gives_an_answer_that_can_be_stored() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("a\0b", add_special_tokens=False)["input_ids"]
    assert decode_completion(tokenizer, ids) == "a\ufffdb"


def test_so_does_an_endpoint() -> None:
    assert chat_reply({"choices": [{"message": {"content": "a\0b"}}], "model": "m\0"}).text == "a\ufffdb"
    assert text_reply({"choices": [{"text": "a\0b"}]}).text == "a\ufffdb"
