"""How much memory training and sampling take, and how many tokens a pass may have: computed from a model's shape.

A pass keeps about four values of the MLP's width, four of the attention's and seven of the hidden size for every token
and layer, for its backward pass. They were counted on Llama and Qwen2 with rows without padding (SmolLM2-135M in fp32:
1.51 MB a token, of which this gives 99 %); other architectures keep about as much. Torch-free: pages and forecasts
compute with the same numbers as a run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# What a process of ours holds before any model: interpreter, torch, transformers (400 MB measured on a CPU).
PROCESS_BYTES = 400_000_000
# On a CPU a pass with more activations than this is no faster: its matrices are large enough, its memory new.
ENOUGH_BYTES = 384 * 2**20
HEAD_BYTES = 128 * 2**20  # logits of a chunk, twice, and the probabilities that are kept (`policy/logps.py`)
ROW_TOKENS = 512  # a prompt with its two answers, where nothing else is known
CACHE_TOKENS = 16_384  # keys and values that sampling on a CPU holds at once
LEAST_TOKENS = 64
DEFAULT_TOKENS = 8192  # in a pass at most
PLENTY = 2**62  # room where memory is no question: a forecast says how much it takes
PROMPT_TOKENS = 64  # where only answers have a known length
_LORA_SHARE = 0.02  # of the weights: rank 16 on all linear layers of models of 0.1 to 8 billion parameters
_KEPT_SHARE = 0.85  # of the free memory that a pass may use


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a language model that its memory depends on."""

    n_parameters: int
    layers: int = 0  # 0: unknown, as the others
    hidden: int = 0
    mlp: int = 0
    attention: int = 0  # heads times their size
    keys: int = 0  # heads of keys times their size
    vocabulary: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any], n_parameters: int) -> Shape | None:
        """Read the sizes from a config.json; None if it does not name them."""
        text = config.get("text_config")
        config = text if isinstance(text, Mapping) else config

        def size(*names: str) -> int:
            found = (config.get(name) for name in names)
            return next((value for value in found if isinstance(value, int) and value > 0), 0)

        hidden, layers = size("hidden_size", "n_embd"), size("num_hidden_layers", "n_layer")
        heads, vocabulary = size("num_attention_heads", "n_head"), size("vocab_size")
        if not (hidden and layers and heads and vocabulary):
            return None
        head = size("head_dim") or hidden // heads
        return cls(
            n_parameters=n_parameters,
            layers=layers,
            hidden=hidden,
            mlp=size("intermediate_size", "n_inner") or 4 * hidden,
            attention=heads * head,
            keys=(size("num_key_value_heads") or heads) * head,
            vocabulary=vocabulary,
        )

    def token_bytes(self, width: int, *, lora: bool) -> int:
        """What a pass keeps for a token, in all layers; `width` is that of a number of the model.

        Beside an adapter the input of each layer is kept once more, in fp32, where the model is in lower precision.
        """
        kept = width * (4 * self.mlp + 7 * self.hidden + 4 * self.attention)
        if lora and width < 4:
            kept += 4 * (5 * self.hidden + self.attention + self.mlp)
        return self.layers * kept

    def again_bytes(self, width: int) -> int:
        """What a pass keeps for a token if layers compute their activations again: their inputs."""
        return self.layers * width * self.hidden


@dataclass(frozen=True, slots=True)
class Memory:
    """How a model is trained, as far as memory goes. `width`: bytes of a number of the model in its passes.

    `shards`: how many processes share its weights; what a process takes is computed.
    """

    shape: Shape
    width: int = 4
    lora: bool = False
    shards: int = 1

    def weights(self) -> int:
        return self.width * self.shape.n_parameters

    def fixed(self) -> int:
        """Weights, gradients, the optimizer's two moments and, in lower precision, its fp32 copy of the weights."""
        n, full = self.shape.n_parameters, max(4, self.width)
        if self.lora:
            whole = self.weights() + 4 * full * int(_LORA_SHARE * n)
        else:
            whole = (self.width + 3 * full + (full if full != self.width else 0)) * n
        return whole if self.shards == 1 else whole // self.shards + self._gathered()

    def _gathered(self) -> int:
        """What is whole for a while of sharded weights: the embeddings, a layer and the next, and their gradients."""
        shape = self.shape
        embeddings = shape.vocabulary * shape.hidden
        layer = max(0, shape.n_parameters - embeddings) // max(1, shape.layers)
        return self.width * (1 if self.lora else 2) * (embeddings + 2 * layer)

    def activations(self, tokens: int, *, again: bool = False) -> int:
        """Kept for the backward pass of this many tokens; `again`: layers compute them a second time instead."""
        kept = self.shape.token_bytes(self.width, lora=self.lora)
        if again:
            kept = self.shape.again_bytes(self.width) + kept // max(1, self.shape.layers)
        return tokens * kept

    def head(self) -> int:
        """What the head takes beside its weights: chunks of logits, and the gradient of an embedding."""
        gradient = 0 if self.lora else max(4, self.width) * self.shape.vocabulary * self.shape.hidden
        return min(HEAD_BYTES, 16 * ROW_TOKENS * self.shape.vocabulary) + gradient

    def peak(self, passes: Passes, longest: int = ROW_TOKENS, *, process: int = PROCESS_BYTES) -> int:
        """The most that a process holds while it trains on rows of up to `longest` tokens."""
        # rows are whole: of those that fit into a pass as many as fit, of longer ones one
        held = longest * max(1, passes.tokens // longest)
        return process + self.fixed() + self.head() + self.activations(held, again=passes.again(longest))

    def sampling(self, *, process: int = PROCESS_BYTES) -> int:
        """The most that a process holds while it samples: weights, keys and values."""
        shape = self.shape
        return process + self.width * (shape.n_parameters + 2 * CACHE_TOKENS * shape.layers * shape.keys)

    def passes(self, room: int, *, most: int, on_cpu: bool) -> Passes:
        """Plan the passes for `room` bytes of activations.

        On a CPU small passes are as fast as large ones, so it takes no more than it profits from. An accelerator takes
        as many tokens as fit; where that are fewer than a pass there should have, activations are computed again.
        """
        kept, again = max(1, self.activations(1)), max(1, self.activations(1, again=True))
        if on_cpu:
            tokens = min(ENOUGH_BYTES, room) // kept
            return Passes(_between(tokens, most), longest_kept=room // kept)
        if room // kept >= min(most, _ACCELERATOR_PASS):
            return Passes(_between(room // kept, most), longest_kept=room // kept)
        return Passes(_between(room // again, most), longest_kept=0)


_ACCELERATOR_PASS = 2048  # tokens: what starting a pass costs there (`policy/batches.py`)


@dataclass(frozen=True, slots=True)
class Passes:
    """How the rows of a step are divided into passes: at most `tokens` each, or one longer row.

    The layers of a row of more than `longest_kept` tokens compute their activations again in the backward pass.
    `sharded`: the run's `processes` share the weights.
    """

    tokens: int
    longest_kept: int
    sharded: bool = False
    processes: int = 1

    def again(self, tokens: int) -> bool:
        return tokens > self.longest_kept

    def halved(self) -> Passes | None:
        """Passes for half the memory; None if there are no smaller ones."""
        if self.tokens > LEAST_TOKENS:
            return replace(self, tokens=max(LEAST_TOKENS, self.tokens // 2))
        return replace(self, longest_kept=0) if self.longest_kept else None


def _between(tokens: int, most: int) -> int:
    return max(min(LEAST_TOKENS, most), min(tokens, most))


def room_for(memory: Memory, free: int, *, held: int) -> int:
    """Compute what is left for activations of `free` bytes, once everything fixed is there; `held`: already counted."""
    return max(0, int(_KEPT_SHARE * (free - max(0, memory.fixed() + memory.head() - held))))


def available_bytes() -> int:
    """Find the memory that this process may still use: of the machine, and of its control group where there is one."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free = min(free, max(0, int(limit) - int(used)))
    return free


def most_held_bytes() -> int:
    """Find the most memory that this process has held so far; 0 where the system does not tell.

    Not `getrusage`: its figure goes on counting what the process held before it became this program, which, started
    from a large one, is that one's.
    """
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii")
    except OSError:
        return ""
