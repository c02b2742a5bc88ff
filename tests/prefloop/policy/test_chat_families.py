from __future__ import annotations

import resource
import time
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloop.chat_templates import ChatTemplate, RefusedConversation, UnreadableTemplate
from prefloop.confined import LimitExceeded
from prefloop.engine.examples import UnusableRow, encode_demonstrations, encode_pairs
from prefloop.engine.train import classify
from prefloop.policy.loading import stop_ids
from prefloop.policy.prompts import decode_completion, encode_completion, encode_prompt
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.snapshots import Demonstration
from prefloop.types import TrainingPair
from tests.prefloop.chat_families import FAMILIES, Family, tokenizer_of

USER = [{"role": "user", "content": "How are you?"}]
LONGER = [*USER, {"role": "assistant", "content": "I am well."}, {"role": "user", "content": " And the cat?\n"}]
SYSTEM = [{"role": "system", "content": "Be dear."}, *USER]
THINKING = ("qwq", "r1")


@cache
def made(name: str) -> Any:
    return tokenizer_of(FAMILIES[name])


def whole_text(tokenizer: Any, messages: list[dict[str, str]], answer: str) -> str:
    answered = [*messages, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(answered, tokenize=False))


def trained_text(tokenizer: Any, messages: list[dict[str, str]], answer: str) -> str:
    row = Demonstration("1", tuple(messages), answer)
    (example,) = encode_demonstrations([row], tokenizer, max_length=None)
    assert example.item.prompt_ids == encode_prompt(tokenizer, messages), "trained on the prompt that is sampled from"
    ids = [*example.item.prompt_ids, *example.item.completions[0]]
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


ANSWERS = [
    "Well, thank you.",
    " Well.\n",
    "\n\nWell",
    "I am well [/INST] or ü 🎈",
    "",
    "<|im_end|>",
    "</s> <end_of_turn>",
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("messages", [USER, LONGER], ids=["one turn", "three turns"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in THINKING])
def test_a_row_is_what_the_template_renders_of_the_whole(
    name: str, messages: list[dict[str, str]], answer: str
) -> None:
    family, tokenizer = FAMILIES[name], made(name)
    text, whole = trained_text(tokenizer, messages, answer), whole_text(tokenizer, messages, answer)
    if family.end in family.template or family.end == family.eos != "<|endoftext|>":
        assert whole.startswith(text)
        assert not whole[len(text) :].strip(), "nothing is missing but what stands after the end of the turn"
    else:
        assert text.endswith(family.eos)
        assert whole.startswith(text.removesuffix(family.eos))
    completion = encode_completion(tokenizer, answer, messages)
    assert completion[-1] == tokenizer.convert_tokens_to_ids(family.end)
    assert not set(completion[:-1]) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("name", FAMILIES)
def test_sampling_stops_where_answers_end(name: str) -> None:
    policy = tiny_policy()
    policy.tokenizer = made(name)
    ends = {made(name).convert_tokens_to_ids(FAMILIES[name].end), made(name).eos_token_id}
    assert ends <= set(stop_ids(policy))


@pytest.mark.parametrize("name", ["gemma", "chatml-on-a-base-model", "llama-3-base-eos"])
def test_the_last_token_does_not_tell_the_sides_apart(name: str) -> None:
    tokenizer = made(name)
    sampled = (*tokenizer("Well", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
    row = TrainingPair("1", "How are you?", "Well", "I am well.", 1.0, first_ids=sampled)
    (example,) = encode_pairs([row], tokenizer, max_length=None)
    first, second = example.item.completions
    assert first[:-1] == sampled[:-1]
    assert first[-1] == second[-1] == tokenizer.convert_tokens_to_ids(FAMILIES[name].end)


@pytest.mark.parametrize("name", THINKING)
@pytest.mark.parametrize("thoughts", ["<think>\nHm.\n</think>\n\n", "<think>Hm.</think>", "Hm.\n</think>\n\n"])
def test_thoughts_are_opened_once_and_kept(name: str, thoughts: str) -> None:
    text = trained_text(made(name), USER, thoughts + "Well.")
    assert text.count("<think>") == text.count("</think>") == 1
    assert "Hm." in text
    assert text.endswith("Well." + FAMILIES[name].end)
    if name == "qwq" and thoughts.startswith("<think>\n"):
        assert whole_text(made(name), USER, thoughts + "Well.").rstrip() == text


@pytest.mark.parametrize("name", THINKING)
def test_an_answer_without_thoughts_ends_those_that_the_prompt_opened(name: str) -> None:
    assert trained_text(made(name), USER, "Well.").endswith("<think>\n\n</think>\n\nWell." + FAMILIES[name].end)


def test_what_the_template_writes_around_an_answer_is_no_part_of_its_text() -> None:
    for name in ("qwen-3", "llama-2"):
        tokenizer = made(name)
        assert decode_completion(tokenizer, encode_completion(tokenizer, "Well.", USER)) == "Well."


@pytest.mark.parametrize(
    ("name", "messages", "why"),
    [
        ("gemma", SYSTEM, "System role not supported"),
        ("gemma", [*USER, *USER], "must alternate"),
        ("mistral", SYSTEM, "Only user and assistant"),
        ("dropped", SYSTEM, "drops the system turn"),
        ("dropped", [*USER, {"role": "assistant", "tool_calls": [{"function": {"name": "look"}}]}], "tool call"),
        ("broken", USER, "no attribute 'no'"),
        ("chatml", [*SYSTEM[:1], *SYSTEM[:1], *USER], ""),
    ],
)  # fmt: skip
def test_a_conversation_that_would_lose_a_turn_is_data_with_its_row(
    name: str, messages: list[dict[str, Any]], why: str
) -> None:
    if name == "dropped":
        body = "{% for m in messages if m.role != 'system' %}{{ m.role + ': ' + (m.content or '') + '\n' }}{% endfor %}"
        tokenizer = tokenizer_of(Family(body, (), "</s>", "</s>"))
    elif name == "broken":
        tokenizer = tokenizer_of(Family("{{ messages[0].content.no.such.thing }}", (), "</s>", "</s>"))
    else:
        tokenizer = made(name)
    rows = [Demonstration("q1", "fine", "yes"), Demonstration("q9", tuple(messages), "yes")][name == "broken" :]
    if not why:
        encode_demonstrations(rows, tokenizer, max_length=None)
        return
    with pytest.raises(UnusableRow, match=f"row 'q9': .*({why})") as caught:
        encode_demonstrations(rows, tokenizer, max_length=None)
    assert classify(caught.value) == "data"


def test_tool_calls_in_the_history_are_rendered_by_the_template() -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": '{"at": "the cat"}'}}
    messages = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "It sleeps."},
    ]
    text = made("qwen-3").decode(encode_prompt(made("qwen-3"), messages))
    assert '<tool_call>\n{"name": "look", "arguments": {"at": "the cat"}}\n</tool_call><|im_end|>' in text


SHAPES = st.builds(
    lambda open_, close, end, space, header, trimmed: (
        "{% for m in messages %}{{ '" + open_ + "' + m.role + '" + close + space + "' + m.content" + trimmed
        + " + '" + end + "' }}{% endfor %}"
        + (header and "{% if add_generation_prompt %}{{ '" + open_ + "assistant" + close + space + "' }}{% endif %}")
    ),
    st.sampled_from(["<|a|>", "### ", ""]),
    st.sampled_from(["<|b|>", ":", "\\n"]),
    st.sampled_from(["<|c|>\\n", "</s>", "\\n<|c|>", " </s>\\n"]),
    st.sampled_from(["", " ", "\\n", "\\n\\n"]),
    st.sampled_from(["", "with"]),
    st.sampled_from(["", " | trim"]),
)  # fmt: skip


@cache
def shaped(metaspace: bool) -> Any:
    return tokenizer_of(Family("", ("<|a|>", "<|b|>", "<|c|>"), "</s>", "", metaspace=metaspace))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(SHAPES, st.text(alphabet="ab .\nü", max_size=8), st.text(alphabet="ab .\nü<|c>", max_size=8), st.booleans())
def test_random_templates_render_alike(template: str, question: str, answer: str, metaspace: bool) -> None:
    tokenizer = shaped(metaspace)
    tokenizer.chat_template = template
    messages = [{"role": "user", "content": "x" + question}]
    text, whole = trained_text(tokenizer, messages, answer), whole_text(tokenizer, messages, answer)
    assert whole.startswith(text)
    assert not whole[len(text) :].strip()


HOSTILE = {
    "loops": "".join("{% for " + name + " in range(99999) %}" for name in "abc") + "{% endfor %}" * 3,
    "doubling": "{% set n = namespace(s='x' * 1000) %}{% for a in range(99999) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "output": "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_costs_a_limited_process_and_not_this_one(name: str) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(LimitExceeded, match="the model's chat template"):
        ChatTemplate(HOSTILE[name]).render([(USER, True)])
    assert time.monotonic() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert ChatTemplate("{{ messages[0].content }}").render([(USER, True)]) == ["How are you?"], (
        "the next one is served"
    )


def test_what_is_no_template_is_one_clear_line() -> None:
    with pytest.raises(UnreadableTemplate, match="can't be read: line 1"):
        ChatTemplate("{% for %}").render([(USER, True)])
    with pytest.raises(RefusedConversation, match="Range too big"):
        ChatTemplate("{% for a in range(100001) %}{% endfor %}").render([(USER, True)])
