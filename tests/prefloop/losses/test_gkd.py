"""The generalised JSD: the known values, the true KLs at its ends, finite differences, symmetry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from prefloop.losses.gkd import generalised_jsd_loss

T = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
S = torch.tensor([[0.3, 0.3, 0.4]], dtype=torch.float64).log()
logits = st.lists(st.floats(-10, 10), min_size=4, max_size=4)


@pytest.mark.parametrize(
    ("beta", "wanted"),
    [(0.0, 0.3733860445), (0.1, 0.0334603562), (0.5, 0.0943615069), (0.9, 0.0366782330), (1.0, 0.4219679188)],
)
def test_the_divergence_has_the_known_values(beta: float, wanted: float) -> None:
    assert generalised_jsd_loss(T, S, beta=beta).loss.item() == pytest.approx(wanted, abs=1e-9)


def test_the_ends_are_the_forward_and_the_reverse_kl() -> None:
    # torch's kl_div(input, target) is KL(target || exp(input)): the order is reversed
    forward = kl_div(S, T.exp(), reduction="sum")
    reverse = kl_div(T, S.exp(), reduction="sum")
    assert generalised_jsd_loss(T, S, beta=0).loss.item() == pytest.approx(forward.item())
    assert generalised_jsd_loss(T, S, beta=1).loss.item() == pytest.approx(reverse.item())


def test_near_an_end_the_divergence_over_beta_tends_to_the_kl() -> None:
    assert generalised_jsd_loss(T, S, beta=1e-6).loss.item() / 1e-6 == pytest.approx(0.3733860445, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_slopes_agree_with_finite_differences_and_the_teacher_has_none(beta: float) -> None:
    student, teacher = S.clone().requires_grad_(), T.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: generalised_jsd_loss(T, s, beta=beta, temperature=0.9).loss, (student,))
    generalised_jsd_loss(teacher, student, beta=beta).loss.sum().backward()
    assert teacher.grad is None


@pytest.mark.slow
@given(logits, logits, st.floats(0.01, 0.99))
def test_swapping_both_models_and_beta_changes_nothing(a: list[float], b: list[float], beta: float) -> None:
    x, y = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    one = generalised_jsd_loss(x, y, beta=beta).loss
    torch.testing.assert_close(one, generalised_jsd_loss(y, x, beta=1 - beta).loss, rtol=1e-7, atol=1e-9)
    assert one.item() >= -1e-12
    assert generalised_jsd_loss(x, x + 3, beta=beta).loss.item() == pytest.approx(0, abs=1e-9)
