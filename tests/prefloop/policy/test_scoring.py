from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from prefloop.engine.hardware import spare_activations
from prefloop.losses.dpo import dpo_loss
from prefloop.policy import scoring
from prefloop.policy.batches import PackItem, _cheapest_cuts, pack_groups
from prefloop.policy.loading import UnloadableModel, reward_model_from_policy
from prefloop.policy.scoring import (
    forward_logps,
    forward_rewards,
    output_head,
    reward_scores,
    runs_flat,
    score_groups,
    step_kl,
    supports_block_mask,
)
from prefloop.policy.tiny import tiny_policy as make_tiny_policy
from tests.prefloop.tiny import uniform_policy


def _items(*, long: bool = False) -> list[PackItem]:
    """Four prompts; with `long` a fifth whose own tokens are attended to apart from its completions."""
    generator = torch.Generator().manual_seed(5)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(256, (length,), generator=generator).tolist())

    items = [
        PackItem(ids(7), (ids(3), ids(9))),
        PackItem(ids(2), (ids(5), ids(1), ids(4), ids(5))),
        PackItem(ids(11), (ids(6),)),
        PackItem(ids(1), (ids(2), (), ids(8))),
    ]
    return [*items, PackItem(ids(70), (ids(3), (), ids(9), ids(3)))] if long else items


def _plain_logp(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
    """The second road: one whole forward of one row, full log-softmax, shift by one."""
    ids = torch.tensor([prompt + completion])
    logps = model(ids).logits[0].float().log_softmax(-1)
    picked = logps[len(prompt) - 1 : -1].gather(1, torch.tensor(completion, dtype=torch.long)[:, None])
    return picked.sum()


def _markov(transition: list[list[float]]) -> Any:
    """A Qwen2 whose next token depends on the last one alone, by the given probabilities."""
    policy = make_tiny_policy(vocab_size=len(transition), layers=1)
    model = policy.model
    hidden = model.config.hidden_size
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        for state, row in enumerate(transition):
            model.model.embed_tokens.weight[state, state] = 1000.0  # the norm makes it sqrt(hidden)
            for token, probability in enumerate(row):
                model.lm_head.weight[token, state] = math.log(probability) / math.sqrt(hidden)
    return policy


def test_a_two_token_markov_chain_gives_the_hand_value() -> None:
    policy = _markov([[0.9, 0.1], [0.4, 0.6]])
    # 0 -> 1, 1, 0: each token is scored by the state before it, the prompt's last one first
    (scores,) = score_groups(policy, [PackItem((1, 0), ((1, 1, 0), (0,)))])
    assert scores == pytest.approx([math.log(0.1) + math.log(0.6) + math.log(0.4), math.log(0.9)], abs=1e-5)


def test_packed_rows_give_what_plain_rows_give_in_every_architecture(any_policy: Any) -> None:
    assert supports_block_mask(any_policy.model)
    items = _items(long=True)
    with torch.no_grad():
        expected = [[float(_plain_logp(any_policy.model, i.prompt_ids, c)) for c in i.completions] for i in items]
    for budget in (1, 40, 100_000):  # alone, a few together, all together
        got = score_groups(any_policy, items, token_budget=budget)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4, rel=1e-5)


def test_packed_rows_give_the_gradients_of_plain_rows(any_policy: Any) -> None:
    model, items = any_policy.model, _items(long=True)
    weights = [[0.5, -1.0], [1.0, 0.3, -0.7, 0.2], [1.5], [-0.4, 9.0, 0.8], [0.2, 7.0, -0.6, 0.5]]
    model.zero_grad()
    total = torch.zeros(())
    for item, row in zip(items, weights, strict=True):
        for completion, weight in zip(item.completions, row, strict=True):
            total = total + weight * _plain_logp(model, item.prompt_ids, completion)
    total.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for packed in pack_groups(items, token_budget=60):
        logps = forward_logps(model, packed, with_grad=True, chunk=3)
        row = torch.tensor([weights[item][completion] for item, completion in packed.slots])
        (logps * row).sum().backward()
    scale = max(float(g.abs().max()) for g in expected.values())
    for name, parameter in model.named_parameters():
        assert float((parameter.grad - expected[name]).abs().max()) < 1e-5 * scale, name
    model.zero_grad()


def test_rows_without_padding_and_padded_rows_give_the_same(any_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, items = any_policy.model, _items(long=True)
    assert runs_flat(model)
    packs = pack_groups(items, token_budget=10_000)
    found = []
    for flat in (True, False):
        monkeypatch.setitem(scoring._flat_works, model, flat)
        model.zero_grad()
        logps = torch.cat([forward_logps(model, packed, with_grad=True) for packed in packs])
        (logps * torch.linspace(-1, 1, len(logps))).sum().backward()
        found.append((logps.detach(), [p.grad.clone() for p in model.parameters()]))
    (flat_logps, flat_grads), (logps, grads) = found
    torch.testing.assert_close(flat_logps, logps, atol=1e-4, rtol=1e-5)
    scale = max(float(grad.abs().max()) for grad in grads)
    for mine, theirs in zip(flat_grads, grads, strict=True):
        assert float((mine - theirs).abs().max()) < 1e-5 * scale
    model.zero_grad()


def test_a_model_that_computes_its_activations_again_takes_padded_rows(tiny_policy: Any) -> None:
    assert runs_flat(tiny_policy.model)
    tiny_policy.model.gradient_checkpointing_enable()
    assert not runs_flat(tiny_policy.model)
    spare_activations(tiny_policy.model)  # unless its layers find the same attention again
    assert runs_flat(tiny_policy.model)


def test_the_order_of_items_and_of_completions_changes_nothing(tiny_policy: Any) -> None:
    items = _items()
    forward = score_groups(tiny_policy, items)
    backward = score_groups(tiny_policy, [PackItem(i.prompt_ids, i.completions[::-1]) for i in items[::-1]])
    for mine, theirs in zip(forward, [row[::-1] for row in backward[::-1]], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


def test_a_budget_is_kept_unless_one_item_alone_is_larger(tiny_policy: Any) -> None:
    items = _items() * 3
    batches = pack_groups(items, token_budget=50)
    assert sorted(slot for b in batches for slot in b.slots) == [
        (i, c) for i, item in enumerate(items) for c in range(len(item.completions))
    ]
    assert all(b.n_tokens <= 50 or len(b.items) == 1 for b in batches)
    assert len(batches) > 2


def test_a_group_too_long_for_one_row_takes_several_and_stays_in_one_batch(tiny_policy: Any) -> None:
    item = PackItem((1, 2, 3), tuple((7,) * 300 for _ in range(16)))
    (packed,) = pack_groups([item], token_budget=10)
    assert packed.input_ids.shape[0] == 3
    assert packed.lengths().tolist() == [300] * 16
    assert len(set(packed.slots)) == 16


def test_token_values_sum_to_sequence_values(tiny_policy: Any) -> None:
    (packed,) = pack_groups(_items(), token_budget=10_000)
    tokens = forward_logps(tiny_policy.model, packed, with_grad=False, return_token=True)
    sums = forward_logps(tiny_policy.model, packed, with_grad=False)
    for number, total in enumerate(sums):
        assert tokens[packed.owner == number].sum().item() == pytest.approx(float(total), abs=1e-4)
    assert not sums.requires_grad


def test_a_policy_against_itself_has_no_log_ratio_and_loses_log_two(tiny_policy: Any) -> None:
    pairs = [PackItem(i.prompt_ids, i.completions[:2]) for i in _items() if len(i.completions) > 1]
    (packed,) = pack_groups(pairs, token_budget=10_000)
    with_grad = forward_logps(tiny_policy.model, packed, with_grad=True)
    reference = forward_logps(tiny_policy.model, packed, with_grad=False)
    assert torch.equal(with_grad.detach(), reference)  # to the bit
    first, second = with_grad[::2], with_grad[1::2]
    loss = dpo_loss(first, second, reference[::2], reference[1::2], beta=0.1).loss
    assert loss.tolist() == pytest.approx([math.log(2)] * len(pairs), abs=1e-7)


def test_the_uniform_policy_scores_by_length_alone() -> None:
    policy = uniform_policy()
    (scores,) = score_groups(policy, [PackItem((1,), ((5, 6), (7,), ()))])
    assert scores == pytest.approx([-2 * math.log(259), -math.log(259), 0.0], abs=1e-5)


def test_a_model_that_ignores_block_masks_falls_back_and_says_so(any_policy: Any, caplog: Any) -> None:
    items = _items()
    expected = score_groups(any_policy, items)
    model, inner = any_policy.model, any_policy.model.base_model
    original = inner.forward

    def deaf(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    inner.forward = deaf
    deaf_model = type(model)(model.config)  # another identity: what was probed once is remembered
    deaf_model.load_state_dict(model.state_dict())
    deaf_model.base_model.forward = lambda *a, attention_mask=None, **k: type(inner).forward(
        deaf_model.base_model, *a, **k
    )
    deaf_model.eval()
    inner.forward = original
    with caplog.at_level("WARNING"):
        assert not supports_block_mask(deaf_model)
    assert "takes no block mask" in caplog.text
    any_policy.model = deaf_model
    for mine, theirs in zip(score_groups(any_policy, items), expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    # a batch that was packed for sharing is laid out anew
    packed = pack_groups(items, token_budget=10_000)[0]
    sums = forward_logps(deaf_model, packed, with_grad=False)
    assert sums.tolist() == pytest.approx([expected[i][c] for i, c in packed.slots], abs=1e-4)


def test_a_head_that_is_not_all_there_is_to_the_logits_is_refused(tiny_policy: Any) -> None:
    model = tiny_policy.model
    original = model.forward

    def capped(*args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        out.logits = 3 * torch.tanh(out.logits / 3)
        return out

    model.forward = capped
    with pytest.raises(UnloadableModel, match="logits"):
        output_head(model)


def test_step_kl_is_zero_against_itself_and_the_hand_value_in_a_chain() -> None:
    one, other = _markov([[0.9, 0.1], [0.4, 0.6]]), _markov([[0.5, 0.5], [0.5, 0.5]])
    items = [PackItem((0,), ((1, 0), (0,)))]
    from_0 = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    from_1 = 0.4 * math.log(0.8) + 0.6 * math.log(1.2)
    (values,) = step_kl(one, other, items)
    assert values == pytest.approx([from_0 + from_1, from_0], abs=1e-5)
    assert step_kl(one, one, items) == [[0.0, 0.0]]


def test_a_new_reward_model_says_zero_and_a_trained_one_what_transformers_says(any_policy: Any) -> None:
    reward_model = reward_model_from_policy(any_policy)
    items = [PackItem(i.prompt_ids, tuple(c for c in i.completions if c)) for i in _items()]
    assert all(value == 0 for row in reward_scores(reward_model, items) for value in row)
    with torch.no_grad():
        reward_model.model.score.weight.copy_(torch.linspace(-1, 1, 32)[None])
    for item, row in zip(items, reward_scores(reward_model, items, token_budget=70), strict=True):
        for completion, value in zip(item.completions, row, strict=True):
            with torch.no_grad():
                theirs = reward_model.model(torch.tensor([item.prompt_ids + completion])).logits.item()
            assert value == pytest.approx(theirs, abs=1e-4)
    (packed,) = pack_groups(items[:1], token_budget=10_000)
    forward_rewards(reward_model.model, packed, with_grad=True).sum().backward()
    assert reward_model.model.score.weight.grad.abs().sum() > 0
    # the policy's own weights were copied, not shared
    assert all(parameter.grad is None for parameter in any_policy.model.parameters())


def test_batches_are_cut_where_padding_and_passes_cost_least() -> None:
    items = [PackItem((1,) * length, ((2,),)) for length in (9, 9, 200, 9, 199)]
    shapes = [tuple(packed.input_ids.shape) for packed in pack_groups(items, token_budget=10_000)]
    assert shapes == [(3, 10), (2, 201)]  # one pass would pad 3 rows by 191 tokens, five would cost three passes more

    lengths, rows, budget, price = [3, 5, 8, 8, 13, 40, 41], [1, 2, 1, 1, 3, 1, 1], 60, 11

    def cost(cuts: list[tuple[int, int]]) -> int:
        return sum(sum(rows[a:b]) * lengths[b - 1] + price for a, b in cuts)

    def every_way(start: int) -> list[list[tuple[int, int]]]:
        if start == len(lengths):
            return [[]]
        ends = range(start + 1, len(lengths) + 1)
        fits = [end for end in ends if end == start + 1 or sum(rows[start:end]) * lengths[end - 1] <= budget]
        return [[(start, end), *rest] for end in fits for rest in every_way(end)]

    found = _cheapest_cuts(lengths, rows, budget, price)
    assert cost(found) == min(map(cost, every_way(0)))
