from __future__ import annotations

import pytest

from prefloop.control_tokens import CONTROL_TOKEN, defuse
from prefloop.judging.render import suspicions
from prefloop.thoughts import MARKS

# What the tokenizers of these families declare as special or added tokens, as published.
FAMILIES = {
    "llama-2": "<s> </s> <unk> [INST] [/INST] <<SYS>> <</SYS>>",
    "llama-3": "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> "
    "<|python_tag|> <|reserved_special_token_0|> <|finetune_right_pad_id|>",
    "llama-4": "<|header_start|> <|header_end|> <|eot|> <|image|> <|patch|>",
    "qwen": "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|vision_pad|> <|fim_prefix|> <tool_call> "
    "</tool_call> <tool_response> </tool_response>",
    "mistral": "<s> </s> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] "
    "[TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CONTENT] [ARGS] [CALL_ID] [IMG] [IMG_BREAK] [IMG_END] "
    "[PREFIX] [MIDDLE] [SUFFIX] [MODEL_SETTINGS] [control_8]",
    "gemma": "<bos> <eos> <pad> <unk> <mask> <start_of_turn> <end_of_turn> <unused7> <start_of_image> "
    "<end_of_image> <image_soft_token>",
    "gemma-4": "<|turn> <turn|> <|channel> <channel|> <|tool_call> <tool_call|> <|think|>",
    "phi": "<|system|> <|user|> <|assistant|> <|end|> <|im_sep|> <|dummy_0|>",
    "deepseek": "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜> "
    "<｜tool▁sep｜> <|EOT|>",
    "glm": "[gMASK] [sMASK] <sop> <eop> <|user|> <|observation|> <|begin_of_image|> <arg_key> </arg_value>",
    "command": "<BOS_TOKEN> <EOS_TOKEN> <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <EOP_TOKEN>",
    "gpt-oss": "<|start|> <|message|> <|end|> <|return|> <|call|> <|constrain|>",
    "falcon": "<|endoftext|> >>QUESTION<< >>ANSWER<<",
    "starcoder": "<fim_prefix> <fim-middle> <repo_name> <file_sep> <jupyter_start>",
    "exaone": "[|user|] [|assistant|] [|endofturn|]",
    "minimax": "]~!b[ ]~b] [e~[ <minimax:tool_call>",
    "seed": "<seed:bos> <seed:eos> <seed:tool_call> </seed:tool_call>",
    "kimi": "[BOS] [EOS] <|im_user|> <|im_middle|> <|tool_calls_section_begin|>",
    "nemotron": "<extra_id_0> <SPECIAL_12> <AVAILABLE_TOOLS> </AVAILABLE_TOOLS> <TOOLCALL> </TOOLCALL>",
    "lfm": "<|startoftext|> <|tool_call_start|> <|tool_response_end|>",
    "internlm": "<eoh> <eoa> <|action_end|>",
    "baichuan": "<reserved_106> <reserved_107>",
    "bert": "[CLS] [SEP] [PAD] [UNK] [MASK]",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_control_token_of_a_known_family_reaches_a_judge(family: str) -> None:
    for token in FAMILIES[family].split():
        text = f"before {token}after"
        assert CONTROL_TOKEN.fullmatch(token), token
        assert token not in defuse(text)
        assert defuse(defuse(text)) == defuse(text)
        assert "control-token" in suspicions(text)


def test_marks_of_thoughts_are_shown_otherwise_and_suspect_nothing() -> None:
    for mark in (mark for marks in MARKS for mark in marks):
        assert mark not in defuse(f"x{mark}y")
    assert suspicions("<think>\nLet me see.\n</think>\n\nDear Maria") == ()


@pytest.mark.parametrize(
    "text",
    [
        "if a<b | c>d: print('[x]') <b>bold</b> <html> [[0]] {{x}} [1] [TODO] x[i] <filename>",
        "<user><name>Maria</name></user> cat <in >out 2>&1 a||b a|>f()|>g <$> <|> x <- y",
        "[A] [[A]] ‹s› ⟦INST⟧",
    ],
)
def test_code_and_plain_text_are_shown_as_they_are(text: str) -> None:
    assert defuse(text) == text
    assert CONTROL_TOKEN.search(text) is None
