"""A policy asked as an endpoint is: the same messages, replies and log-probs, whoever is asked beside."""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from prefloop.interrupting import make_interruptible
from prefloop.judging.asking import Question
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeRejectedItem
from prefloop.judging.judge import LlmPairJudge, LlmScorer
from prefloop.judging.render import load_template
from prefloop.policy import chat_endpoint
from prefloop.policy.chat_endpoint import PolicyEndpoint, ServedPolicyEndpoint
from prefloop.policy.loading import layers_of, load_reader
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.tiny import tiny_policy
from prefloop.pool import call_all
from tests.prefloop.tiny import save_tiny_policy

NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def asked(text, system="Say a letter."):
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def next_logps(policy, messages):
    """The plain way: one prompt, one forward pass of the whole model."""
    ids = torch.tensor([encode_prompt(policy.tokenizer, messages)])
    with torch.no_grad():
        return policy.model(input_ids=ids).logits[0, -1].double().log_softmax(-1)


@pytest.mark.parametrize("chat", [True, False])
def test_log_probs_are_the_policys_own_in_any_company(chat):
    policy = tiny_policy(chat=chat)
    endpoint = PolicyEndpoint(policy)
    messages = [asked("x" * n) for n in (1, 40, 7, 7, 90, 3, 12, 33)]

    def ask(one):
        return endpoint.chat(one, max_tokens=1, logprobs=True, top_logprobs=20)

    alone = [ask(one) for one in messages]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, messages))
    for one, reply, other in zip(messages, alone, together, strict=True):
        expected = next_logps(policy, one).topk(20)
        told = [entry.logprob for entry in reply.top_logprobs]
        assert told == pytest.approx(expected.values.tolist(), abs=1e-4)
        assert told == pytest.approx([entry.logprob for entry in other.top_logprobs], abs=1e-4)
        likeliest = policy.tokenizer.decode([int(expected.indices[0])])
        assert reply.text == reply.top_logprobs[0].token == likeliest


@pytest.mark.slow
def test_replies_are_what_the_policy_samples_in_any_company():
    policy = tiny_policy(chat=True)
    endpoint = PolicyEndpoint(policy, top_p=0.9)
    messages = [asked("x" * n) for n in (1, 40, 7, 7, 90, 3, 12, 33)]

    def ask(one):
        return endpoint.chat(one, temperature=0.8, max_tokens=12, seed=5)

    alone = [ask(one) for one in messages]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, messages)) == alone
    assert len({reply.text for reply in alone}) > 1
    assert alone[2] == alone[3]  # the same request, the same reply
    assert endpoint.chat(messages[0], temperature=0.8, max_tokens=12, seed=6) != alone[0]
    greedy = endpoint.chat(messages[1], max_tokens=12)
    ids = encode_prompt(policy.tokenizer, messages[1])
    (group,) = sample(policy, [SamplePrompt("any", ids)], n=1, temperature=0.0, max_tokens=12, seed=0)
    assert greedy.text == group.completions[0].text
    assert greedy.usage == {"prompt_tokens": len(ids), "completion_tokens": len(group.completions[0].ids)}
    assert greedy.finish_reason == ("stop" if group.completions[0].finished else "length")


@pytest.mark.parametrize(("top", "room", "sizes"), [(1, 35, [1, 2, 1]), (1, 1, [1, 1, 1, 1]), (0, 35, [1, 1, 1, 1])])
def test_no_more_calls_are_answered_together_than_a_minute_has_room_for(top, room, sizes, monkeypatch):
    """Four calls wait, of about 100, 16, 16 and 16 tokens; a text may take 30 more."""
    monkeypatch.setattr(chat_endpoint, "tokens_in", lambda seconds, n_parameters: room)
    policy = tiny_policy()
    endpoint = PolicyEndpoint(policy)
    messages = [asked(text) for text in ("x" * 90, "a", "b", "c")]
    together, answer = [], endpoint._answer

    def counted(calls):
        together.append(len(calls))
        answer(calls)

    monkeypatch.setattr(endpoint, "_answer", counted)

    def ask(one):
        return endpoint.chat(one, max_tokens=30, logprobs=bool(top), top_logprobs=top)

    with ThreadPoolExecutor(4) as pool:
        with endpoint._answering:  # until all of them wait, in their order
            said = []
            for n, one in enumerate(messages, 1):
                said.append(pool.submit(ask, one))
                while len(endpoint._waiting) < n:
                    time.sleep(0.001)
        replies = [one.result() for one in said]
    assert together == sizes
    assert [one.text for one in replies] == [ask(one).text for one in messages]


@pytest.mark.slow
def test_a_reply_is_dropped_where_the_asking_is_told_to_stop():
    """And so are the calls that wait for their turn: whoever asks waits for one layer, not for all of them."""
    policy = tiny_policy()
    make_interruptible(layers_of(policy.model))
    layers_of(policy.model)[0].register_forward_hook(lambda *_: time.sleep(0.05) or tokens.append(None))
    endpoint, tokens, told, dropped, at = PolicyEndpoint(policy), [], [], [], []

    def ended(results, failed):
        told.extend(results)
        at.append(len(tokens))
        dropped.extend(failed)

    def ask(text):
        return endpoint.chat(asked(text), temperature=1.0, max_tokens=100 if text else 1)

    def after_the_first():
        if at and len(tokens) > at[0] + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_all(ask, ["", "a", "b", "c", "d"], at_once=4, on_ended=ended, check=after_the_first)
    assert len(told) == 1
    assert sorted(dropped) == ["a", "b", "c", "d"]
    assert len(tokens) < at[0] + 40


def test_a_template_without_system_turns_gets_its_text_before_the_users():
    policy = tiny_policy(chat=True)
    policy.tokenizer.chat_template = NO_SYSTEM
    endpoint = PolicyEndpoint(policy)
    joined = [{"role": "user", "content": "Say a letter.\n\nGo."}]
    assert endpoint.chat(asked("Go."), max_tokens=6) == endpoint.chat(joined, max_tokens=6)


def test_what_can_not_be_answered_is_the_items_own():
    endpoint = PolicyEndpoint(tiny_policy(chat=True, max_position_embeddings=128))
    with pytest.raises(JudgeRejectedItem, match="more than the 128 of the model"):
        endpoint.chat(asked("x" * 200), max_tokens=1)
    with pytest.raises(JudgeRejectedItem, match="held to no schema"):
        endpoint.chat(asked("x"), max_tokens=1, response_format={"type": "json_schema"})
    assert endpoint.chat(asked("x"), max_tokens=1).usage["completion_tokens"] == 1


@pytest.mark.slow
def test_a_policy_compares_by_the_log_probs_of_two_letters():
    """p = exp(a) / (exp(a) + exp(b)), a and b being the log-probs of the letters after the rendered template."""
    policy = tiny_policy(chat=True, max_position_embeddings=4096)
    with torch.no_grad():  # the two letters are likely, so that a verdict can be read
        letters = [policy.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
        policy.model.lm_head.weight[letters] *= 4

    heard = []

    class Listening(PolicyEndpoint):
        def chat(self, messages, **settings):
            heard.append(list(messages))
            return super().chat(messages, **settings)

    judge = LlmPairJudge(Listening(policy), load_template("pairwise-logprob"), "Which is kinder?")
    read = 0
    for order in ((0, 1), (1, 0)):
        for first, second in (("Thank you.", "No."), ("Yes.", "Maybe so."), ("Well.", "Go away.")):
            verdict = judge.ask(Question("Say thanks.", (first, second), order))
            if verdict.state != "ok":
                continue
            read += 1
            a, b = (float(next_logps(policy, heard[-1])[letter]) for letter in letters)
            p_shown = 1 / (1 + math.exp(b - a))
            assert verdict.p_first == pytest.approx(p_shown if order == (0, 1) else 1 - p_shown, abs=1e-3)
    assert read


def test_a_reply_by_schema_falls_back_to_the_templates_own_words():
    judge = LlmPairJudge(
        PolicyEndpoint(tiny_policy(chat=True, max_position_embeddings=4096)),
        load_template("pairwise-json"),
        "Kinder?",
        max_tokens=4,
    )
    verdict = judge.ask(Question("Hi", ("a", "b"), (0, 1)))
    assert verdict.state == "unparseable"
    assert "no-schema" in verdict.flags


def test_a_policy_that_rambles_gives_no_score():
    scorer = LlmScorer(
        PolicyEndpoint(tiny_policy(chat=True, max_position_embeddings=4096)),
        load_template("additive"),
        "Kind.",
        max_tokens=8,
    )
    said = scorer.score(prompt="Hi", answer="Hello")
    assert (said.state, said.value) == ("unparseable", None)
    assert said.rationale == "cut off at the token limit"


def test_through_vllm_the_same_token_ids_are_asked(tmp_path):
    path = save_tiny_policy(tmp_path / "policy", chat=True)
    reader = load_reader(path)
    bodies = []

    def once(method, route, body):
        bodies.append((route, json.loads(json.dumps(body))))
        top = {"A": -0.1, "B": -2.5}
        return {
            "choices": [
                {
                    "index": 0,
                    "text": "A",
                    "finish_reason": "length",
                    "token_ids": list(reader.tokenizer("A")["input_ids"]),
                    "logprobs": {"token_logprobs": [-0.1], "top_logprobs": [top]},
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        }

    endpoint = ChatEndpoint("http://served.example/v1", "some-model")
    endpoint._once = once  # the wire is tested in tests/prefloop/judging
    served = ServedPolicyEndpoint(endpoint, reader)
    reply = served.chat(asked("Go."), max_tokens=1, logprobs=True, top_logprobs=20, seed=3)
    ((route, body),) = bodies
    assert route == "/completions"
    assert tuple(body["prompt"]) == encode_prompt(reader.tokenizer, asked("Go."))
    assert (body["logprobs"], body["seed"], body["stop_token_ids"]) == (20, 3, list(reader.stop_ids))
    assert [(entry.token, entry.logprob) for entry in reply.top_logprobs] == [("A", -0.1), ("B", -2.5)]
    assert reply.text == "A"
