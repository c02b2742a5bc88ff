from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.demonstrations import JudgeDemonstration, agreeing, thinned


def judged(name: str, score: int) -> JudgeDemonstration:
    return JudgeDemonstration(id=name, prompt=f"Score {name}.", text=f"Reasons.\nScore: {score}", score=score)


def ids(rows: list[JudgeDemonstration]) -> str:
    return "".join(row.id for row in rows)


def test_two_judgements_stay_where_their_scores_rank_the_answers_as_the_label_does() -> None:
    a, b, c, d = judged("a", 4), judged("b", 2), judged("c", 2), judged("d", 5)
    assert ids(agreeing([(a, b, "first")])) == "ab"
    assert ids(agreeing([(a, b, "second")])) == ""
    assert ids(agreeing([(a, b, "tie")])) == ""
    assert ids(agreeing([(b, c, "tie")])) == "bc"
    assert ids(agreeing([(b, c, "first")])) == ""  # equal scores say nothing of which is better
    assert ids(agreeing([(b, c, "both_bad")])) == ""
    assert ids(agreeing([(a, b, "first"), (b, d, "second"), (c, d, "first")])) == "abd"  # each once


def test_a_score_that_is_over_represented_is_thinned_and_rare_ones_stay_whole() -> None:
    # seven 4s, two 1s and one 0: six rows are 0, 1, 1 and three 4s
    rows = [judged(f"x{at}", score) for at, score in enumerate([4, 4, 1, 4, 0, 4, 4, 1, 4, 4])]
    kept = thinned(rows, 6, seed=3)
    assert Counter(row.score for row in kept) == {0: 1, 1: 2, 4: 3}
    assert kept == [row for row in rows if row in kept]
    assert thinned(rows, 6, seed=3) == kept
    assert any(thinned(rows, 6, seed=seed) != kept for seed in range(9))
    assert thinned(rows, 10, seed=0) == rows
    assert thinned([], 4, seed=0) == []


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 45), st.integers(0, 3))
def test_thinning_takes_n_rows_under_one_cap(scores: list[int], n: int, seed: int) -> None:
    rows = [judged(f"x{at}", score) for at, score in enumerate(scores)]
    kept = thinned(rows, n, seed=seed)
    assert len(kept) == min(n, len(rows))
    there, left = Counter(scores), Counter(row.score for row in kept)
    cap = max(left.values(), default=0)
    for score, count in there.items():
        assert left[score] in (min(count, cap), min(count, cap - 1))
