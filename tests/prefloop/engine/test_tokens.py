"""The losses on whole next-token distributions do not depend on how positions are cut into chunks."""

from __future__ import annotations

import pytest
import torch

from prefloop.engine import tokens
from prefloop.engine.tokens import forward_cringe, forward_divergence
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.scoring import forward_logps
from prefloop.policy.tiny import tiny_policy


@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_chunks_change_neither_value_nor_gradient(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, teacher = tiny_policy(seed=1, std=0.2).model, tiny_policy(seed=2, std=0.2).model
    item = PackItem((5, 6), ((7, 8, 9), (10,)))
    (packed,) = pack_groups([item], token_budget=64)
    found = []
    for size in (512, chunk):
        monkeypatch.setattr(tokens, "_CHUNK", size)
        logps, cringe = forward_cringe(model, packed, k=4)
        divergence = forward_divergence(model, teacher, packed, beta=0.5)
        (logps.sum() + cringe.sum() + divergence.sum()).backward()
        found.append((logps, cringe, divergence, model.get_output_embeddings().weight.grad.clone()))
        model.zero_grad()
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0][0].detach(), forward_logps(model, packed, with_grad=False))
    assert (found[0][1] > 0).all()
    assert (found[0][2] > 0).all()
