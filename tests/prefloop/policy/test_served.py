"""Sampling over HTTP, against a scripted server on loopback: what is asked, what is kept, and how trouble ends it.

What a real vLLM does is in test_vllm.py.
"""

from __future__ import annotations

import json
import threading

import pytest

from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeBadAnswer, JudgeRejectedItem
from prefloop.policy.loading import load_policy, load_reader, stop_ids
from prefloop.policy.sampling import PromptTooLong, SamplePrompt
from prefloop.policy.served import (
    Drawn,
    EndpointPrompt,
    EndpointSampler,
    ServedBadAnswer,
    VllmSampler,
    Wanted,
    draw_all,
    sample_served,
)
from prefloop.types import Completion, PrefloopError
from tests.prefloop.tiny import save_tiny_policy

HELLO = EndpointPrompt("hello", ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}))


class Served:
    """Stands where a ChatEndpoint stands: keeps what it is asked and answers by a function of the request's body."""

    def __init__(self, answer):
        self.bodies, self._answer, self._lock = [], answer, threading.Lock()

    def endpoint(self):
        endpoint = ChatEndpoint("http://served.example/v1", "some-model")
        endpoint._once = self._once  # the wire is tested in tests/prefloop/judging
        return endpoint

    def _once(self, method, path, body):
        with self._lock:
            self.bodies.append((path, json.loads(json.dumps(body))))
        answer = self._answer(body)
        if isinstance(answer, Exception):
            raise answer
        return answer


def text_answer(text="Hi.", **choice):
    return {"choices": [{"index": 0, "text": text, "finish_reason": "stop", **choice}]}


def chat_answer(text="Hi.", finish_reason="stop", logprobs=None):
    message = {"role": "assistant", "content": text}
    content = None if logprobs is None else {"content": [{"token": "x", "logprob": value} for value in logprobs]}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": content}]}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return load_reader(save_tiny_policy(tmp_path_factory.mktemp("policy") / "tiny", max_position_embeddings=40))


def test_a_reader_knows_of_a_checkpoint_what_the_loaded_policy_knows(tmp_path):
    directory = save_tiny_policy(tmp_path / "tiny", max_position_embeddings=77)
    reader, policy = load_reader(directory), load_policy(directory)
    assert reader.stop_ids == stop_ids(policy) == (256,)
    assert reader.max_length == 77
    assert reader.tokenizer.get_vocab() == policy.tokenizer.get_vocab()


def test_vllm_is_asked_by_ids_and_what_it_tells_is_kept(reader):
    served = Served(
        lambda body: text_answer("ignored", token_ids=[72, 105, 256], logprobs={"token_logprobs": [-1.0, -0.5, -0.25]})
    )
    sampler = VllmSampler(
        served.endpoint(), reader, max_tokens=8, seed=3, temperature=0.7, top_p=0.9, top_k=5, source="p"
    )
    (group,) = sample_served(sampler, [SamplePrompt("a", (1, 2, 3))], n=2)
    text = reader.tokenizer.decode([72, 105])
    assert group.completions[0] == Completion(text, (72, 105, 256), -1.75, "p", 3, True)
    path, body = served.bodies[0]
    assert path == "/completions"
    asked = {
        key: body[key]
        for key in ("prompt", "temperature", "top_p", "top_k", "max_tokens", "stop_token_ids", "logprobs")
    }
    assert asked == {
        "prompt": [1, 2, 3],
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 8,
        "stop_token_ids": [256],
        "logprobs": 0,
    }
    assert body["return_token_ids"] is True


def test_a_completion_s_seed_depends_on_run_prompt_and_number_alone(reader):
    def seeds(seed, prompts, n, first_index=0):
        served = Served(lambda body: text_answer(token_ids=[65], logprobs={"token_logprobs": [-1.0]}))
        sampler = VllmSampler(served.endpoint(), reader, max_tokens=1, seed=seed)
        sample_served(
            sampler,
            [SamplePrompt(name, (1, place)) for place, name in enumerate(prompts)],
            n=n,
            first_index=first_index,
        )
        return {(body["prompt"][1], body["seed"]) for _, body in served.bodies}

    few, many = seeds(0, ["a", "b"], 2), seeds(0, ["a", "b", "c"], 5)
    assert len(few) == 4
    assert few < many
    assert seeds(0, ["a"], 3, first_index=2) < {pair for pair in many if pair[0] == 0}
    assert not seeds(1, ["a", "b"], 2) & many
    assert all(0 <= seed < 2**31 for _, seed in many)


def test_what_ended_for_length_is_not_finished_and_room_is_checked_before_asking(reader):
    served = Served(
        lambda body: text_answer(finish_reason="length", token_ids=[65, 66], logprobs={"token_logprobs": [-1, -2]})
    )
    sampler = VllmSampler(served.endpoint(), reader, max_tokens=2, seed=0)
    assert sampler.draw(SamplePrompt("a", (1,)), 0).completion.finished is False
    with pytest.raises(PromptTooLong, match="39 tokens; with 2 to come that is more than the 40"):
        sampler.draw(SamplePrompt("b", (1,) * 39), 0)
    assert len(served.bodies) == 1


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"token_ids": [1, 2]},
        {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0]}},
        {"token_ids": [1, "2"], "logprobs": {"token_logprobs": [-1.0, -1.0]}},
        {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0, None]}},
        {"token_ids": [], "logprobs": {"token_logprobs": []}},
    ],
)
def test_a_vllm_that_tells_less_than_ids_and_their_log_probs_is_refused(choice, reader):
    sampler = VllmSampler(Served(lambda body: text_answer(**choice)).endpoint(), reader, max_tokens=4, seed=0)
    with pytest.raises(ServedBadAnswer, match="token ids and"):
        sampler.draw(SamplePrompt("a", (1,)), 0)


def test_an_endpoint_is_asked_by_chat_or_text_in_the_protocol_s_words_only():
    served = Served(lambda body: chat_answer() if "messages" in body else text_answer())
    for api in ("chat", "completions"):
        EndpointSampler(served.endpoint(), max_tokens=9, seed=0, api=api, temperature=0.5, top_p=0.8).draw(HELLO, 0)
    (chat_path, chat), (text_path, text) = served.bodies
    assert (chat_path, text_path) == ("/chat/completions", "/completions")
    assert chat["messages"] == [dict(message) for message in HELLO.messages]
    assert text["prompt"] == "Be kind.\n\nHello?"
    common = {"model", "temperature", "top_p", "max_tokens", "seed", "logprobs"}
    assert set(chat) == common | {"messages", "top_logprobs"}
    assert set(text) == common | {"prompt"}


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_of_an_endpoint_s_answer_no_ids_are_invented(api):
    def answer(body):
        if "messages" in body:
            return chat_answer("Hello!", "length", [-1.0, -2.0])
        return text_answer("Hello!", finish_reason="length", logprobs={"token_logprobs": [-1.0, -2.0]})

    drawn = EndpointSampler(Served(answer).endpoint(), max_tokens=9, seed=4, api=api, source="gpt").draw(HELLO, 0)
    assert drawn == Drawn(Completion("Hello!", (), None, "gpt", 4, False), (-1.0, -2.0))


def test_an_endpoint_without_log_probs_is_asked_without_them_from_then_on():
    def answer(body):
        return JudgeRejectedItem("logprobs are not supported") if "logprobs" in body else chat_answer()

    served = Served(answer)
    sampler = EndpointSampler(served.endpoint(), max_tokens=9, seed=0)
    assert [sampler.draw(HELLO, k).told_logprobs for k in range(3)] == [None] * 3
    assert ["logprobs" in body for _, body in served.bodies] == [True, False, False, False]


def test_a_request_that_is_refused_without_log_probs_too_is_an_error():
    served = Served(lambda body: JudgeRejectedItem("too long"))
    sampler = EndpointSampler(served.endpoint(), max_tokens=9, seed=0)
    for _ in range(2):
        with pytest.raises(JudgeRejectedItem, match="too long"):
            sampler.draw(HELLO, 0)
    assert len(served.bodies) == 4  # log-probs are asked for again: they may not have been the reason


class Scripted:
    """A sampler whose draws wait for the test's word."""

    def __init__(self, fail_at=None):
        self.fail_at, self.asked, self.go = fail_at, [], threading.Event()

    def draw(self, prompt, k):
        self.asked.append(k)
        if k:
            assert self.go.wait(10)
        if k == self.fail_at:
            raise JudgeBadAnswer("nonsense")
        return Drawn(Completion(str(k)))


def test_trouble_ends_the_asking_after_what_was_in_flight_has_been_told():
    sampler, told = Scripted(fail_at=1), []
    sampler.go.set()
    with pytest.raises(JudgeBadAnswer, match="nonsense"):
        draw_all(
            sampler,
            (Wanted(HELLO, k) for k in range(1000)),
            on_drawn=lambda item, drawn: told.append(item.k),
            at_once=4,
        )
    assert 0 in told
    assert 1 not in told
    assert sorted([*told, 1]) == sorted(sampler.asked)
    assert len(sampler.asked) < 1000


def test_the_first_is_asked_alone_and_a_wrong_url_costs_one_call():
    sampler = Scripted(fail_at=0)
    with pytest.raises(PrefloopError):
        draw_all(sampler, (Wanted(HELLO, k) for k in range(10)), on_drawn=lambda *_: None, at_once=4)
    assert sampler.asked == [0]


@pytest.mark.slow
def test_a_stop_between_two_answers_is_raised_and_keeps_what_came():
    class Stop(BaseException):
        pass

    sampler, told = Scripted(), []

    def check():
        if sampler.asked[1:]:
            sampler.go.set()
            raise Stop

    with pytest.raises(Stop):
        draw_all(
            sampler,
            (Wanted(HELLO, k) for k in range(50)),
            on_drawn=lambda item, drawn: told.append(item.k),
            at_once=4,
            check=check,
        )
    assert sorted(told) == sorted(sampler.asked)
    assert len(told) == 5  # the first, and the four in flight


def test_groups_come_in_the_order_of_the_prompts_and_ids_must_differ():
    served = Served(lambda body: chat_answer(body["messages"][0]["content"]))
    sampler = EndpointSampler(served.endpoint(), max_tokens=9, seed=0)
    prompts = [EndpointPrompt(name, ({"role": "user", "content": name},)) for name in "cab"]
    told = []
    groups = sample_served(sampler, prompts, n=3, on_group=lambda group: told.append(group.prompt_id))
    assert [(group.prompt_id, {c.text for c in group.completions}) for group in groups] == [
        ("c", {"c"}),
        ("a", {"a"}),
        ("b", {"b"}),
    ]
    assert sorted(told) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="prompt ids must differ"):
        sample_served(sampler, [HELLO, HELLO], n=1)


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 0}, {"max_tokens": 0}])
def test_settings_that_no_engine_takes_are_refused_before_anything_is_asked(settings):
    with pytest.raises(ValueError, match="must be"):
        EndpointSampler(ChatEndpoint("http://served.example/v1", "m"), **({"max_tokens": 1, "seed": 0} | settings))
