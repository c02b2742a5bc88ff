"""The control tokens of known chat templates in one table, and how text that contains them is made harmless.

A server that puts our text into a chat template may read `<|im_start|>` in it as the token that begins a turn. So text
by others is shown to judges with other brackets around such words.
"""

from __future__ import annotations

import re

from prefloop.thoughts import MARKS

# By form: most families write <|name|>, whatever the name (DeepSeek with full-width bars, EXAONE in square brackets,
# Gemma 4 with one bar).
_FORMS = (
    r"<(?P<bar>[|｜])[^<>|｜\n]{1,60}(?P=bar)>",
    r"\[\|[^\[\]|\n]{1,60}\|\]",
    r"<\|[\w\"/▁]{1,40}>",
    r"<[\w\"/▁]{1,40}\|>",
    r"<(?:unused|reserved_|extra_id_|SPECIAL_)\d{1,5}>",
    r"<seed:/?[\w]{1,40}>",
    r"</seed:[\w]{1,40}>",
    r"\[control_\d{1,4}\]",
)
# By name, without the slash of the closing ones. Words that XML and manuals use (<user>, <filename>) are left alone: a
# judge must see an answer's code as it is.
_ANGLED = (  # noqa: SIM905 - a list of words is read sooner
    "s pad unk mask sep cls bos eos start_of_turn end_of_turn start_of_image end_of_image image_soft_token "  # Gemma
    "tool_call tool_calls tool_response tool_responses function_call function_calls "  # Qwen, Hermes, GLM
    "arg_key arg_value minimax:tool_call "
    "sop eop eoh eoa "  # GLM, InternLM
    "BOS_TOKEN EOS_TOKEN EOP_TOKEN PAD UNK CLS SEP MASK_TOKEN AVAILABLE_TOOLS TOOLCALL TOOL_RESPONSE TOOL_RESULTS "
    "fim_prefix fim_middle fim_suffix fim_pad fim-prefix fim-middle fim-suffix fim-pad "  # StarCoder, Yi
    "repo_name reponame file_sep gh_stars issue_start issue_comment issue_closed jupyter_start empty_output"
).split()
_SQUARE = (  # noqa: SIM905
    "INST SYSTEM_PROMPT AVAILABLE_TOOLS TOOL_CALLS TOOL_RESULTS TOOL_CONTENT ARGS CALL_ID MODEL_SETTINGS "  # Mistral
    "IMG IMG_BREAK IMG_END PREFIX MIDDLE SUFFIX AUDIO BEGIN_AUDIO TRANSCRIBE REFERENCE_DOC_0 "
    "CLS SEP PAD UNK MASK gMASK sMASK BOS EOS EOT"  # BERT, GLM, Kimi
).split()
_VERBATIM = (
    "<<SYS>>", "<</SYS>>",  # Llama 2
    ">>TITLE<<", ">>ABSTRACT<<", ">>INTRODUCTION<<", ">>SUMMARY<<", ">>COMMENT<<", ">>ANSWER<<", ">>QUESTION<<",
    ">>DOMAIN<<", ">>PREFIX<<", ">>SUFFIX<<", ">>MIDDLE<<",  # Falcon
    "]~!b[", "]~b]", "[e~[",  # MiniMax
)  # fmt: skip


def _names(names: list[str]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


_TOKENS = (
    "|".join(_FORMS) + rf"|</?(?:{_names(_ANGLED)})>|\[/?(?:{_names(_SQUARE)})\]|" + "|".join(map(re.escape, _VERBATIM))
)
CONTROL_TOKEN = re.compile(_TOKENS)
"""A control token of any known family, but for the marks of thoughts, which answers hold by right."""

_SHOWN_OTHERWISE = re.compile(_TOKENS + "|" + "|".join(re.escape(mark) for pair in MARKS for mark in pair))
_BRACKETS = str.maketrans("<>[]◁▷", "‹›⟦⟧◃▹")


def defuse(text: str) -> str:
    """`text` with the control tokens of chat templates made harmless: `<|im_start|>` becomes `‹|im_start|›`."""
    return _SHOWN_OTHERWISE.sub(lambda found: found.group().translate(_BRACKETS), text)
