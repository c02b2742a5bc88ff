"""A local policy in the role of a judge's endpoint: asked by messages, in this process or through our vLLM server.

What is unusual here:
1. The messages become token ids by the policy's own tokenizer, with its chat template or without one, and ids are what
   is sampled from, also through vLLM. Where the template takes no system turn, its text goes before the user's.
2. Calls of several threads that wait at the same time are answered together, on a CPU no more of them than it
   computes in a minute: what was answered is written before the next ones begin.
3. What is drawn follows from (seed, token ids) alone: the same request brings the same reply in any company.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prefloop.chat_templates import RefusedConversation
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeRejectedItem
from prefloop.judging.render import Message
from prefloop.judging.replies import ChatReply, TokenLogprob
from prefloop.policy.loading import Policy, Reader
from prefloop.policy.precision import in_full
from prefloop.policy.prompts import decode_completion, encode_prompt
from prefloop.policy.sampling import PromptTooLong, SamplePrompt, check_room, default_budget, sample
from prefloop.policy.scoring import evaluating, unshared_because
from prefloop.policy.shared_prefix import decoder_for
from prefloop.speeds import tokens_in
from prefloop.types import BadData

ROOM_SECONDS = 60.0


@dataclass(slots=True)
class _Call:
    """One request and its result."""

    ids: tuple[int, ...]
    temperature: float
    max_tokens: int
    seed: int
    top: int  # likeliest first tokens that are asked for; 0: a text is
    reply: ChatReply | None = None
    error: BaseException | None = None

    @property
    def name(self) -> str:
        return hashlib.sha256(repr(self.ids).encode()).hexdigest()


class PolicyEndpoint:
    """A policy in this process, with the interface of a `ChatEndpoint`. Safe to share among threads."""

    def __init__(self, policy: Policy, *, top_p: float = 1.0) -> None:
        self._policy = policy
        self._top_p = top_p
        self._limit = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
        on_cpu = policy.device.type == "cpu"
        n_parameters = sum(parameter.numel() for parameter in policy.model.parameters())
        self._room = tokens_in(ROOM_SECONDS, n_parameters) if on_cpu else float("inf")
        self._waiting: list[_Call] = []
        self._listing = threading.Lock()
        self._answering = threading.Lock()
        self._encoding = threading.Lock()

    def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        response_format: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """Ask for one reply. Raises JudgeRejectedItem if this request can't be answered."""
        _no_form(response_format)
        with self._encoding:  # a tokenizer's cache is not made for threads
            ids = _encoded(self._policy.tokenizer, messages, max_tokens=max_tokens, limit=self._limit)
        call = _Call(ids, temperature, max_tokens, seed or 0, max(top_logprobs, 1) if logprobs else 0)
        with self._listing:
            self._waiting.append(call)
        while call.reply is None and call.error is None:
            with self._answering:  # whoever comes next answers those that have come first
                if call.reply is None and call.error is None:
                    self._answer(self._next())
        if call.error is not None:
            raise call.error
        if call.reply is None:
            raise AssertionError("every call has been answered")
        return call.reply

    def _next(self) -> list[_Call]:
        """Take the calls that are answered together: the first that waits, and others while they fit."""
        with self._listing:
            room, n = self._room, 0
            for waiting in self._waiting:
                room -= len(waiting.ids) + (0 if waiting.top else waiting.max_tokens)
                if n and room < 0:
                    break
                n += 1
            taken, self._waiting = self._waiting[:n], self._waiting[n:]
        return taken

    def _answer(self, calls: Sequence[_Call]) -> None:
        """Answer all calls; an error belongs to its own call."""
        groups: dict[tuple[Any, ...], list[_Call]] = {}
        for call in calls:
            groups.setdefault((call.temperature, call.max_tokens, call.seed, bool(call.top)), []).append(call)
        for alike in groups.values():
            try:
                replies = self._first_tokens(alike) if alike[0].top else self._texts(alike)
                for call in alike:
                    call.reply = replies[call.name]
            except BaseException as error:  # noqa: BLE001 - each caller gets it, in its own thread
                for call in alike:
                    call.error = error

    def _texts(self, calls: Sequence[_Call]) -> dict[str, ChatReply]:
        first = calls[0]
        groups = sample(
            self._policy,
            [SamplePrompt(name, ids) for name, ids in {call.name: call.ids for call in calls}.items()],
            n=1,
            temperature=first.temperature,
            top_p=self._top_p,
            max_tokens=first.max_tokens,
            seed=first.seed,
        )
        lengths = {call.name: len(call.ids) for call in calls}
        out = {}
        for group in groups:
            (said,) = group.completions
            out[group.prompt_id] = ChatReply(
                text=said.text,
                usage={"prompt_tokens": lengths[group.prompt_id], "completion_tokens": len(said.ids)},
                finish_reason="stop" if said.finished else "length",
            )
        return out

    def _first_tokens(self, calls: Sequence[_Call]) -> dict[str, ChatReply]:
        """The most likely first tokens for each prompt, from one forward pass over all prompts that fit in memory
        together.
        """
        out: dict[str, ChatReply] = {}
        todo = sorted({call.name: call.ids for call in calls}.items(), key=lambda item: -len(item[1]))
        top = max(call.top for call in calls)
        model = self._policy.model
        with evaluating(model), torch.inference_mode():
            while todo:
                longest = len(todo[0][1])
                n = max(1, default_budget(self._policy) // (longest + 1))
                if unshared_because(model, longest + 1):  # then prompts of different lengths don't go together
                    n = min(n, sum(len(ids) == longest for _, ids in todo))
                part, todo = todo[:n], todo[n:]
                ones = torch.ones(len(part), dtype=torch.long, device=self._policy.device)
                logits = decoder_for(model, longest + 1).prefill([ids for _, ids in part], ones, 1)
                logps = in_full(logits).log_softmax(dim=-1)
                values, tokens = logps.topk(min(top, logps.shape[-1]), dim=-1)
                for (name, ids), row, names in zip(part, values.tolist(), tokens.tolist(), strict=True):
                    listed = tuple(
                        TokenLogprob(self._token(token), value) for token, value in zip(names, row, strict=True)
                    )
                    out[name] = ChatReply(
                        text=listed[0].token,
                        top_logprobs=listed,
                        usage={"prompt_tokens": len(ids), "completion_tokens": 1},
                        finish_reason="length",
                    )
        return out

    def _token(self, token: int) -> str:
        return str(self._policy.tokenizer.decode([token]))


@dataclass(slots=True)
class ServedPolicyEndpoint:
    """A policy behind our own vLLM server, with the interface of a `ChatEndpoint`; `reader` is loaded from the same
    weights.
    """

    endpoint: ChatEndpoint
    reader: Reader
    top_p: float = 1.0
    _encoding: threading.Lock = field(default_factory=threading.Lock)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        response_format: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """Ask for one reply. Raises JudgeError."""
        _no_form(response_format)
        with self._encoding:
            ids = _encoded(self.reader.tokenizer, messages, max_tokens=max_tokens, limit=self.reader.max_length)
        reply = self.endpoint.complete(
            ids,
            temperature=temperature,
            top_p=self.top_p,
            max_tokens=max_tokens,
            seed=seed or 0,
            logprobs=max(top_logprobs, 1) if logprobs else None,
            more={
                "return_token_ids": True,
                "stop_token_ids": list(self.reader.stop_ids),
                "spaces_between_special_tokens": False,
            },
        )
        text = reply.text if reply.token_ids is None else decode_completion(self.reader.tokenizer, reply.token_ids)
        return ChatReply(
            text=text, top_logprobs=reply.top_logprobs, usage=reply.usage, finish_reason=reply.finish_reason
        )


def _no_form(response_format: Mapping[str, Any] | None) -> None:
    if response_format is not None:
        raise JudgeRejectedItem("a policy asked here is held to no schema")


def _encoded(tokenizer: Any, messages: Sequence[Message], *, max_tokens: int, limit: int | None) -> tuple[int, ...]:
    """The prompt's token ids. Raises JudgeRejectedItem if it can't be read, or leaves no room for a reply."""
    try:
        try:
            ids = encode_prompt(tokenizer, list(messages))
        except RefusedConversation:
            ids = encode_prompt(tokenizer, _without_system(messages))
        check_room(SamplePrompt("of the judge", ids), max_tokens=max_tokens, limit=limit)
    except (BadData, PromptTooLong) as error:
        raise JudgeRejectedItem(str(error)) from error
    return ids


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """The same messages with the system turn's text put before the user's first text."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if rest and system:
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
    return rest
