"""Sampling from a model on a server: our own vLLM, which tells everything, or any endpoint, with what it tells.

What is unusual here:
1. One request a completion, each with a seed of its own made from (seed, prompt id, k): so completion k of a prompt is
   asked for in the same words whatever n is, and what is missing after a failure can be asked for alone. The server
   batches the requests, and reads a prompt once (prefix caching). How exactly it repeats a seed is the server's affair:
   vLLM's sums depend on who else is in the batch, so a near-tie may fall the other way.
2. With vLLM tokens go in and out as ids, and the log-prob is the policy's own (`--logprobs-mode raw_logprobs`), so a
   completion is as good as one of `prefloop.policy.sampling`. Of any other endpoint the ids are not known and what its
   log-probs mean isn't either (temperature, truncation, the end token): `ids` is empty and `logp_sum` None.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeRejectedItem
from prefloop.judging.metering import Most, tokens_at_most
from prefloop.policy.loading import Reader
from prefloop.policy.prompts import decode_completion
from prefloop.policy.sampling import SamplePrompt, check_draws, check_room
from prefloop.pool import call_all
from prefloop.seeds import derive_seed
from prefloop.types import Completion, Group, PrefloopError

AT_ONCE = 32  # requests in flight
SEED_RANGE = 2**31  # what every server takes; some refuse a seed beyond 32 bits

Api = Literal["chat", "completions"]


class ServedBadAnswer(PrefloopError):
    """The server's answer lacks something that it must have."""


@dataclass(frozen=True, slots=True)
class EndpointPrompt:
    """A prompt as text: endpoints have their own tokenizer."""

    id: str
    messages: tuple[dict[str, str], ...]  # role and content

    @property
    def text(self) -> str:
        return "\n\n".join(message["content"] for message in self.messages)


P = TypeVar("P", SamplePrompt, EndpointPrompt)
P_contra = TypeVar("P_contra", contravariant=True)


class Drawn(NamedTuple):
    completion: Completion
    told_logprobs: tuple[float, ...] | None = None  # nats, a token each, as an endpoint tells them: not to be trusted


class Sampler(Protocol[P_contra]):
    """Draws completion k of a prompt. Safe to share among threads."""

    def draw(self, prompt: P_contra, k: int) -> Drawn: ...


@dataclass(slots=True)
class VllmSampler:
    """A vLLM server that serves the checkpoint which `reader` was loaded from, by its `/v1/completions`."""

    endpoint: ChatEndpoint
    reader: Reader
    max_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        _check(self, top_k=self.top_k)

    def draw(self, prompt: SamplePrompt, k: int) -> Drawn:
        """Raises PromptTooLong, ServedBadAnswer, JudgeError."""
        check_room(prompt, max_tokens=self.max_tokens, limit=self.reader.max_length)
        reply = self.endpoint.complete(
            prompt.ids,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=_seed(self.seed, prompt.id, k),
            logprobs=0,  # of the tokens drawn, and of no other
            more={
                "top_k": self.top_k,
                "return_token_ids": True,
                "stop_token_ids": list(self.reader.stop_ids),
                "spaces_between_special_tokens": False,
            },
        )
        ids, logps = reply.token_ids, reply.token_logprobs
        if not ids or logps is None or len(ids) != len(logps):
            raise ServedBadAnswer(
                f"the vLLM server told {len(ids or ())} token ids and {len(logps or ())} log-probs of one completion"
            )
        return Drawn(
            Completion(
                text=decode_completion(self.reader.tokenizer, ids),
                ids=ids,
                logp_sum=sum(logps),
                source=self.source,
                seed=self.seed,
                finished=ids[-1] in self.reader.stop_ids,
            )
        )


@dataclass(slots=True)
class EndpointSampler:
    """Any OpenAI-compatible endpoint, by chat or by text completion. The protocol has no top-k."""

    endpoint: ChatEndpoint
    max_tokens: int
    seed: int
    api: Api = "chat"
    temperature: float = 1.0
    top_p: float = 1.0
    source: str = ""
    _logprobs: bool = True  # until the server refuses them
    _lock: Any = None

    def __post_init__(self) -> None:
        _check(self)
        self._lock = threading.Lock()

    def draw(self, prompt: EndpointPrompt, k: int) -> Drawn:
        """Raises JudgeError."""
        seed = _seed(self.seed, prompt.id, k)
        with self._lock:
            wanted = self._logprobs
        try:
            text, finish, logprobs = self._ask(prompt, seed, logprobs=wanted)
        except JudgeRejectedItem:
            if not wanted:
                raise
            text, finish, logprobs = self._ask(prompt, seed, logprobs=False)  # raises where that was not it
            with self._lock:
                self._logprobs = False
        completion = Completion(
            text=text, source=self.source, seed=self.seed, finished=finish not in ("length", "max_tokens")
        )
        return Drawn(completion, logprobs)

    def most(self, prompt: EndpointPrompt) -> Most:
        """Say what one request for an answer can take."""
        texts = [text for message in prompt.messages for text in (message["role"], message["content"])]
        return Most(tokens_at_most(*texts), self.max_tokens)

    def _ask(self, prompt: EndpointPrompt, seed: int, *, logprobs: bool) -> tuple[str, str, tuple[float, ...] | None]:
        settings: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "seed": seed}
        if self.api == "chat":
            chat = self.endpoint.chat(
                [dict(message) for message in prompt.messages],
                max_tokens=self.max_tokens,
                logprobs=logprobs,
                **settings,
            )
            return chat.text, chat.finish_reason, chat.token_logprobs or None
        reply = self.endpoint.complete(
            prompt.text, max_tokens=self.max_tokens, logprobs=1 if logprobs else None, **settings
        )
        return reply.text, reply.finish_reason, reply.token_logprobs


@dataclass(frozen=True, slots=True)
class Wanted(Generic[P]):
    """Completion k of a prompt, to be drawn."""

    prompt: P
    k: int


def draw_all(
    sampler: Sampler[P],
    wanted: Iterable[Wanted[P]],
    *,
    on_drawn: Callable[[Wanted[P], Drawn], None],
    at_once: int = AT_ONCE,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Draw them, several at once; `on_drawn` is called with each in this thread, in the order of completion.

    An error, or an exception from `check`, ends the sampling; completions in flight are waited for and reported first.
    """

    def take(drawn: list[tuple[Wanted[P], Drawn]], failed: list[Wanted[P]]) -> None:
        for item, said in drawn:
            on_drawn(item, said)

    call_all(lambda item: sampler.draw(item.prompt, item.k), wanted, at_once=at_once, on_ended=take, check=check)


def sample_served(
    sampler: Sampler[P],
    prompts: Sequence[P],
    *,
    n: int,
    first_index: int = 0,
    at_once: int = AT_ONCE,
    on_group: Callable[[Group], None] | None = None,
) -> list[Group]:
    """Draw n completions of each prompt, numbered first_index, first_index + 1, …; groups in the order of prompts."""
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise ValueError("prompt ids must differ: they key the draws")
    found: dict[str, dict[int, Completion]] = {prompt.id: {} for prompt in prompts}
    groups: dict[str, Group] = {}

    def take(item: Wanted[P], drawn: Drawn) -> None:
        mine = found[item.prompt.id]
        mine[item.k] = drawn.completion
        if len(mine) == n:
            groups[item.prompt.id] = Group(item.prompt.id, tuple(mine[k] for k in sorted(mine)))
            if on_group is not None:
                on_group(groups[item.prompt.id])

    wanted = (Wanted(prompt, first_index + k) for prompt in prompts for k in range(n))
    draw_all(sampler, wanted, on_drawn=take, at_once=at_once)
    return [groups[prompt.id] for prompt in prompts]


def _seed(seed: int, prompt_id: str, k: int) -> int:
    return derive_seed(seed, "completion", prompt_id, k) % SEED_RANGE


def _check(sampler: VllmSampler | EndpointSampler, *, top_k: int = 0) -> None:
    check_draws(n=1, temperature=sampler.temperature, top_p=sampler.top_p, top_k=top_k, max_tokens=sampler.max_tokens)
