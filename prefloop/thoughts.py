"""How models mark their thoughts, in one table; used for judges' replies and for answers to train on.

A chat template may open the thoughts itself, as part of the prompt; a reply then has only the closing mark.
"""

from __future__ import annotations

import re

# (what opens the thoughts, what ends them), as the models of these families write them
MARKS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # DeepSeek-R1, QwQ, Qwen3, GLM, MiniMax
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma 4
)


def _either(marks: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(mark) for mark in marks), re.IGNORECASE)


_OPENS, _CLOSES = _either([opens for opens, _ in MARKS]), _either([closes for _, closes in MARKS])
# gpt-oss behind a server that leaves its control tokens out of the text: the names of the channels remain
_BARE_CHANNELS = re.compile(r"\Aanalysis(?=\W|[A-Z]).*assistantfinal", re.DOTALL)


def after_thoughts(text: str) -> str | None:
    """Return what follows the last closing mark (the whole text without marks); None if thoughts are opened and not
    closed.

    The opening mark may be missing, because the prompt held it.
    """
    said = text
    for closing in _CLOSES.finditer(text):
        said = text[closing.end() :]
    bare = _BARE_CHANNELS.match(said)
    if bare is not None:
        said = said[bare.end() :]
    return None if _OPENS.search(said) else said


def opened_in(text: str) -> tuple[str, str] | None:
    """The marks of thoughts that `text` opens and does not close; None if there are none."""
    for opens, closes in MARKS:
        _, found, inside = text.rpartition(opens)
        if found and closes not in inside:
            return opens, closes
    return None
