"""Answers as text: what can be stored of them, and when two of them are equal."""

from __future__ import annotations


def same_answer(first: str, second: str) -> bool:
    """Say whether two answers are the same text, so that neither can be better than the other.

    The texts are compared exactly, as a model is trained on them: with the same tokens on both sides every pairwise
    loss stays where it is (log 2 in DPO), whatever the label. A space, a capital letter or another way of writing an
    accent gives other tokens, and a person or a judge may well prefer one of them, so such answers count as different.
    """
    return first == second


def storable(text: str) -> str:
    """Replace NUL and half characters, which databases can't store, by U+FFFD.

    A model may write any byte. Its token ids, if known, are kept unchanged and are what is trained on.
    """
    if "\0" not in text and text.isascii():
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
