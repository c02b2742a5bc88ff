"""Log-probabilities, rewards and KL of given completions, from packed batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefloop.policy.batches import PackedBatch, PackItem, pack_groups, scatter
from prefloop.policy.flat_rows import recomputes_rows, run_flat
from prefloop.policy.loading import Policy, RewardModel, UnloadableModel, reward_head
from prefloop.policy.logps import completion_logps, sum_by_sequence
from prefloop.policy.precision import full_dtype, in_full
from prefloop.policy.prompts import Answered, encode_rows

logger = logging.getLogger(__name__)

DEFAULT_TOKEN_BUDGET = 8192
_PROBE_TOLERANCE = 2e-3  # in fp32; low precision is probed relative to its own resolution
_flat_works: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_block_mask_works: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_heads: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def forward_hidden(model: Any, packed: PackedBatch, *, with_grad: bool) -> Tensor:
    """Compute the last hidden states (T, H) at the positions that predict the completion tokens of `packed`."""
    states, packed = _states(model, packed, with_grad=with_grad)
    return states.at(packed.predict_row, packed.predict_position)


def forward_logps(
    policy_model: Any, packed: PackedBatch, *, with_grad: bool, return_token: bool = False, chunk: int = 1024
) -> Tensor:
    """Compute log-probs in nats (fp32): (n_completions,) sums over completion tokens with EOS, in order of `slots`.

    `return_token=True` gives the (T,) token values instead; `packed.owner` gives T and their order.
    """
    with nullcontext() if with_grad else torch.no_grad():
        states, packed = _states(policy_model, packed, with_grad=with_grad)
        hidden = states.at(packed.predict_row, packed.predict_position)
        token_logps = completion_logps(hidden, output_head(policy_model), packed.targets, chunk=chunk)
        return token_logps if return_token else sum_by_sequence(token_logps, packed.owner, packed.n_completions)


class TokenStates(NamedTuple):
    """The completion tokens of one pass, in order of `PackedBatch.owner`."""

    hidden: Tensor  # (T, H) the last hidden state at the position that predicts each token
    logps: Tensor  # (T,) nats, fp32


def forward_tokens(policy_model: Any, packed: PackedBatch, *, with_grad: bool, chunk: int = 1024) -> TokenStates:
    """Compute hidden states and log-probs of the completion tokens in one pass: for a loss with a value head, say.

    The batch must have a layout that the model supports (`unshared_because`): the tokens' order follows the layout.
    """
    with nullcontext() if with_grad else torch.no_grad():
        states, layout = _states(policy_model, packed, with_grad=with_grad)
        if layout.shared != packed.shared:
            raise ValueError("this model takes no shared rows: pack the batch with shared=False")
        hidden = states.at(layout.predict_row, layout.predict_position)
        return TokenStates(hidden, completion_logps(hidden, output_head(policy_model), layout.targets, chunk=chunk))


def forward_rewards(reward_model: Any, packed: PackedBatch, *, with_grad: bool) -> Tensor:
    """Compute the scalar at the last token of each completion, (n_completions,) fp32, in order of `slots`."""
    with nullcontext() if with_grad else torch.no_grad():
        states, packed = _states(reward_model, packed, with_grad=with_grad)
        last = states.at(packed.last_row, packed.last_position)
        head = reward_head(reward_model)
        return in_full(head(last.to(next(head.parameters()).dtype)).squeeze(-1))


def score_groups(
    policy: Policy, items: Sequence[PackItem], *, token_budget: int = DEFAULT_TOKEN_BUDGET
) -> list[list[float]]:
    """Compute each completion's log-prob sum under the policy, without gradient, in the order of `items`."""
    return _over_batches(
        policy.model, items, token_budget, lambda packed: forward_logps(policy.model, packed, with_grad=False)
    )


def reward_scores(
    reward_model: RewardModel, items: Sequence[PackItem], *, token_budget: int = DEFAULT_TOKEN_BUDGET
) -> list[list[float]]:
    """Compute each completion's reward, without gradient, in the order of `items`."""
    return _over_batches(
        reward_model.model,
        items,
        token_budget,
        lambda packed: forward_rewards(reward_model.model, packed, with_grad=False),
    )


def answer_scores(
    reward_model: RewardModel, answered: Sequence[Answered], *, token_budget: int = DEFAULT_TOKEN_BUDGET
) -> list[list[float]]:
    """Compute the reward of every answer; the answers to one prompt share a pass. Raises BadData with their index."""
    items = [PackItem(*row) for row in encode_rows(reward_model.tokenizer, answered)]
    return reward_scores(reward_model, items, token_budget=token_budget)


def step_kl(
    policy: Policy, reference: Policy, items: Sequence[PackItem], *, token_budget: int = DEFAULT_TOKEN_BUDGET
) -> list[list[float]]:
    """Sum over each completion's steps the exact categorical KL(policy || reference) in nats (Rao-Blackwell).

    For completions sampled from the policy its mean estimates the sequence KL without bias, and each value is >= 0.
    """

    def batch_kl(packed: PackedBatch) -> Tensor:
        with torch.no_grad():
            ours, layout = _states(policy.model, packed, with_grad=False)
            theirs, other = _states(reference.model, packed, with_grad=False)
            a = ours.at(layout.predict_row, layout.predict_position)
            b = theirs.at(other.predict_row, other.predict_position)
            if not torch.equal(layout.owner, other.owner):  # the two laid their tokens out in different orders
                raise RuntimeError("policy and reference must use one layout")
            head, reference_head = output_head(policy.model), output_head(reference.model)
            tokens = [
                _categorical_kl(head(part), reference_head(other_part))
                for part, other_part in zip(a.split(512), b.split(512), strict=True)
            ]
            token_kl = torch.cat(tokens) if tokens else a.new_zeros(0, dtype=full_dtype(a.dtype))
            return sum_by_sequence(token_kl, layout.owner, packed.n_completions)

    shared = supports_block_mask(policy.model) and supports_block_mask(reference.model)
    return _over_batches(policy.model, items, token_budget, batch_kl, shared=shared)


class SoftcappedHead(nn.Module):
    """A head whose logits are bounded smoothly: cap · tanh(logits / cap), as Gemma 2's are.

    It holds the model's own head outside its parameters, so that nothing is counted or saved twice.
    """

    def __init__(self, head: nn.Module, cap: float) -> None:
        super().__init__()
        self._head, self._cap = (head,), cap

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._head[0](hidden)
        return torch.tanh(logits / self._cap) * self._cap


def output_head(model: Any) -> nn.Module:
    """Find the module that turns hidden states into logits; raises UnloadableModel if more is needed to get the logits.

    A soft cap (Gemma 2) is supported; some models scale the head's output. Compared once with the model's own logits on
    a tiny input.
    """
    known = _heads.get(model)
    if known is not None:
        return known
    head = model.get_output_embeddings()
    if head is None:
        raise UnloadableModel(f"{type(model).__name__} has no language-model head")
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    if cap:
        head = SoftcappedHead(head, float(cap))
    parameter = next(model.parameters())
    ids = torch.arange(1, 5, device=parameter.device)[None] % model.config.get_text_config().vocab_size
    with evaluating(model), torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits.float()
        got = head(body(model)(input_ids=ids, use_cache=False).last_hidden_state).float()
    tolerance = 1e-2 if parameter.dtype.itemsize < 4 else 1e-3
    if not torch.allclose(got, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        raise UnloadableModel(f"{type(model).__name__} changes its logits after the head, which is not supported")
    _heads[model] = head
    return head


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off temporarily, and restore each module afterwards: they need not all be the same."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def computing_in_full(model: Any) -> Iterator[None]:
    """Let a model that a CPU holds in bf16 compute in fp32 for a while, with the same weights.

    Two ways to compute the same are compared so: in bf16 the answer would depend on how sharp the weights are at the
    time, and a run that goes on could take the other way.
    """
    low = [
        tensor
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16
    ]
    _convert(low, torch.float32)
    try:
        yield
    finally:
        _convert(low, torch.bfloat16)


@torch.inference_mode(mode=False)  # a weight made in that mode could not be trained afterwards
@torch.no_grad()
def _convert(tensors: Sequence[Tensor], dtype: torch.dtype) -> None:
    for tensor in tensors:
        tensor.data = tensor.data.to(dtype)


def body(model: Any) -> Any:
    """Find the module that turns token ids into hidden states, adapters included."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def supports_block_mask(model: Any) -> bool:
    """Say whether the model's attention respects a block mask, by comparing hidden states once on a tiny input."""
    known = _block_mask_works.get(model)
    if known is None:
        known = _probe(model)
        _block_mask_works[model] = known
        if not known:
            logger.warning("%s takes no block mask: prompts are not shared between completions", type(model).__name__)
    return known


def sliding_window(model: Any) -> int | None:
    """How many tokens back the model's sliding layers see; None if every layer sees everything."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if not window or getattr(config, "use_sliding_window", True) is False:
        return None
    kinds = getattr(config, "layer_types", None)
    return None if kinds is not None and "sliding_attention" not in kinds else int(window)


def unshared_because(model: Any, longest: int) -> str:
    """Say why completions of up to `longest` tokens (prompt included) can't share their prompt; "" if they can."""
    name = type(model).__name__
    if not supports_block_mask(model):
        return f"{name} takes no block mask"
    window = sliding_window(model)
    if window is not None and longest > window:
        return f"{name} looks {window} tokens back, and rows have up to {longest}"
    return ""


def _probe(model: Any) -> bool:
    return _agrees_with_plain_rows(model, _run_masked, "a block mask")


def runs_flat(model: Any) -> bool:
    """Say whether rows can be concatenated without padding (`flat_rows`): on a CPU, if attention can be replaced.

    Compared once with plain rows on a tiny input. Layers that compute their activations again in the backward pass must
    find this attention then (`flat_rows.recomputing`); others take padded rows.
    """
    if next(model.parameters()).device.type != "cpu":
        return False
    recomputing = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    if not all(map(recomputes_rows, recomputing)):
        return False
    known = _flat_works.get(model)
    if known is None:
        known = _agrees_with_plain_rows(model, _run_flat, "rows without padding")
        _flat_works[model] = known
    return known


def _agrees_with_plain_rows(model: Any, run: Callable[[Any, PackedBatch], States], what: str) -> bool:
    vocabulary = model.config.get_text_config().vocab_size
    ids = [3 * index % vocabulary for index in range(1, 12)]
    items = [PackItem(tuple(ids[:4]), (tuple(ids[4:7]), tuple(ids[7:11]))), PackItem(tuple(ids[:3]), (tuple(ids[:1]),))]
    (packed,) = pack_groups(items, token_budget=64, device=next(model.parameters()).device)
    try:
        with evaluating(model), computing_in_full(model), torch.no_grad():  # dropout would make any two passes differ
            plain = packed.unshared()
            a = run(model, packed).at(packed.predict_row, packed.predict_position).float()
            b = _run_padded(model, plain).at(plain.predict_row, plain.predict_position).float()
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError) as error:
        logger.warning("%s refused %s: %s", type(model).__name__, what, error)
        return False
    on_cpu = next(model.parameters()).device.type == "cpu"
    resolution = 1.0 if on_cpu else torch.finfo(next(model.parameters()).dtype).eps / torch.finfo(torch.float32).eps
    tolerance = _PROBE_TOLERANCE * max(1.0, min(resolution / 1000, 50.0))
    return bool((a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1.0))


class States(NamedTuple):
    """Last hidden states of all rows, one after the other, and where each row begins."""

    flat: Tensor  # (tokens, H)
    starts: Tensor  # (R,)

    def at(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Pick the states (n, H) at these positions of these rows."""
        return self.flat[self.starts[rows] + positions]


def _states(model: Any, packed: PackedBatch, *, with_grad: bool) -> tuple[States, PackedBatch]:
    """Run the body; returns its states and their layout (unshared if sharing is not possible)."""
    packed = packed.to(next(model.parameters()).device)
    if packed.shared and not (_fits_window(model, packed) and supports_block_mask(model)):
        packed = packed.unshared()
    with nullcontext() if with_grad else torch.no_grad():
        if _fits_window(model, packed) and runs_flat(model):
            return _run_flat(model, packed), packed
        return (_run_masked if packed.shared else _run_padded)(model, packed), packed


def _run_flat(model: Any, packed: PackedBatch) -> States:
    return States(*run_flat(body(model), packed))


def _run_padded(model: Any, packed: PackedBatch) -> States:
    # One completion a row, padded on the right: causal attention alone keeps padding out of every used position.
    return _in_line(body(model)(input_ids=packed.input_ids, use_cache=False).last_hidden_state)


def _run_masked(model: Any, packed: PackedBatch) -> States:
    out = body(model)(
        input_ids=packed.input_ids,
        attention_mask=packed.block_mask(next(model.parameters()).dtype),
        position_ids=packed.position_ids,
        use_cache=False,
    )
    return _in_line(out.last_hidden_state)


def _in_line(states: Tensor) -> States:
    rows, length, _ = states.shape
    return States(states.flatten(0, 1), torch.arange(rows, device=states.device) * length)


def _fits_window(model: Any, packed: PackedBatch) -> bool:
    """Say whether sliding-window layers, which a given mask switches off, would see the whole row anyway."""
    window = sliding_window(model)
    return window is None or int(packed.position_ids.max()) < window


def _over_batches(
    model: Any,
    items: Sequence[PackItem],
    token_budget: int,
    compute: Callable[[PackedBatch], Tensor],
    *,
    shared: bool | None = None,
) -> list[list[float]]:
    shared = supports_block_mask(model) if shared is None else shared
    batches = pack_groups(items, token_budget=token_budget, shared=shared, device=next(model.parameters()).device)
    return scatter(batches, [compute(packed).tolist() for packed in batches], len(items))


def _categorical_kl(logits: Tensor, reference_logits: Tensor) -> Tensor:
    logp, logq = in_full(logits).log_softmax(-1), in_full(reference_logits).log_softmax(-1)
    return (logp.exp() * (logp - logq)).sum(-1).clamp(min=0.0)
