"""What an answer is as text: what can be stored of it, and when two are one and the same."""

from __future__ import annotations


def same_answer(first: str, second: str) -> bool:
    """Say whether two answers are the same text, so that neither can be better than the other.

    The texts are compared exactly, as a model learns from them: with the same tokens on both sides every pairwise loss
    stays where it is (log 2 in DPO), whatever the label. A space, a capital letter or another way of writing an accent
    makes other tokens, and a person or a judge may well have preferred one of them, so such answers are different.
    """
    return first == second


def storable(text: str) -> str:
    """Give the text with U+FFFD in the place of NUL and of half characters, which databases can't store.

    A model may write any byte. Its token ids, where they are known, are kept as they are and are what is trained on.
    """
    if "\0" not in text and text.isascii():
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
