from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from prefloop.seeds import derive_seed, labeller_seed, sampler_seed, shuffler_seed, trainer_seed


def test_a_seed_is_the_first_63_bits_of_the_hash_of_its_path() -> None:
    digest = hashlib.sha256(b'prefloop.seeds:[7,"sampler",2]').digest()
    assert derive_seed(7, "sampler", 2) == int.from_bytes(digest[:8], "big") // 2


def test_a_seed_never_changes_between_versions() -> None:
    assert sampler_seed(0) == derive_seed(0, "sampler") == 3422329284917994071


def test_the_four_users_of_one_seed_get_four_seeds() -> None:
    assert len({sampler_seed(3), labeller_seed(3), shuffler_seed(3), trainer_seed(3)}) == 4


def test_the_parts_of_a_path_do_not_run_together() -> None:
    assert len({derive_seed(0, "a", "b"), derive_seed(0, "ab"), derive_seed(0, "a,b"), derive_seed(0, 1)}) == 4
    assert derive_seed(0, 1) != derive_seed(0, "1")


@given(seed=st.integers(), names=st.lists(st.text(max_size=5) | st.integers(), max_size=4))
def test_any_path_gives_a_seed_that_a_signed_64_bit_column_holds(seed: int, names: list[str | int]) -> None:
    assert 0 <= derive_seed(seed, *names) < 2**63
