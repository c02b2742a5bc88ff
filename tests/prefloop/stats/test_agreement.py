from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics
from statsmodels.stats import inter_rater

from prefloop.stats import agreement as ag

TABLES = st.integers(2, 5).flatmap(
    lambda k: hnp.arrays(np.int64, (k, k), elements=st.integers(0, 30)).filter(lambda t: t.sum() > 0)
)
SEED = st.integers(0, 2**32 - 1)
WEIGHTS = {"unweighted": None, "linear": "linear", "quadratic": "quadratic"}


def labels_of(table):
    i, j = np.indices(table.shape)
    return np.repeat(i.ravel(), table.ravel()), np.repeat(j.ravel(), table.ravel())


def test_cohens_kappa_by_hand():
    # 50 items: both yes 20, both no 15, 5 and 10 apart. Observed 0.7; chance 0.5*0.6 + 0.5*0.4 = 0.5; kappa 0.4.
    assert ag.cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    assert ag.raw_agreement([[20, 5], [10, 15]]) == pytest.approx(0.7)


def test_weighted_kappa_of_two_categories_is_kappa():
    table = [[20, 5], [10, 15]]
    for weights in ("linear", "quadratic"):
        assert ag.cohen_kappa(table, weights=weights) == pytest.approx(0.4)


def test_the_sas_example_comes_out_with_its_standard_error_and_interval():
    fit = ag.cohen_kappa_interval([[0, 4, 1], [0, 8, 0], [0, 1, 5]])
    assert fit is not None
    assert (round(fit.kappa, 4), round(fit.ase, 4)) == (0.4842, 0.1380)
    assert (round(fit.ci.low, 4), round(fit.ci.high, 4)) == (0.2137, 0.7547)
    weighted = ag.cohen_kappa_interval([[0, 4, 1], [0, 8, 0], [0, 1, 5]], weights="linear")
    assert weighted is not None
    assert (round(weighted.kappa, 4), round(weighted.ci.low, 4), round(weighted.ci.high, 4)) == (0.4701, 0.1845, 0.7558)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(TABLES, st.sampled_from(list(WEIGHTS)))
def test_kappa_and_its_standard_error_are_those_of_statsmodels_and_scikit_learn(table, weights):
    ours = ag.cohen_kappa_interval(table, weights=weights)
    if ours is None:
        return
    theirs = inter_rater.cohens_kappa(table, wt=WEIGHTS[weights])
    assert ours.kappa == pytest.approx(theirs.kappa, abs=1e-9)
    assert ours.ase**2 == pytest.approx(max(theirs.var_kappa, 0.0), abs=1e-9)
    a, b = labels_of(table)
    third = metrics.cohen_kappa_score(a, b, labels=range(len(table)), weights=WEIGHTS[weights])
    assert ours.kappa == pytest.approx(third, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(TABLES)
def test_unweighted_kappa_does_not_depend_on_the_names_of_categories_or_on_who_is_first(table):
    kappa = ag.cohen_kappa(table)
    order = np.random.default_rng(0).permutation(len(table))
    for other in (table[np.ix_(order, order)], table.T, 3 * table):
        assert ag.cohen_kappa(other) == (None if kappa is None else pytest.approx(kappa, abs=1e-12))
    assert kappa is None or -1.0 - 1e-9 <= kappa <= 1.0 + 1e-9


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(TABLES)
def test_macro_scores_are_those_of_scikit_learn(table):
    a, b = labels_of(table)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(a, b, average="macro", zero_division=0)
    ours = ag.macro_scores(table)
    assert ours is not None
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx((precision, recall, f1), abs=1e-9)


def test_many_tables_at_once_give_what_one_by_one_gives():
    tables = np.random.default_rng(1).integers(0, 9, size=(20, 3, 3))
    one_by_one = [ag.cohen_kappa(t, weights="linear") for t in tables]
    assert ag.kappas(tables, weights="linear") == pytest.approx(one_by_one)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(2, 5), st.integers(2, 6), SEED)
def test_fleiss_and_randolph_are_those_of_statsmodels(units, raters, k, seed):
    rng = np.random.default_rng(seed)
    ratings = rng.integers(0, k, size=(raters, units))
    counts = ag.rating_counts(ratings, k=k)
    assert counts.sum() == units * raters
    assert ag.randolph_kappa(counts) == pytest.approx(inter_rater.fleiss_kappa(counts, method="rand"), abs=1e-9)
    assume(len(np.unique(ratings)) > 1)
    assert ag.fleiss_kappa(counts) == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-9)


def test_fleiss_refuses_units_with_different_numbers_of_ratings():
    with pytest.raises(ValueError, match="same number of ratings"):
        ag.fleiss_kappa([[2, 1], [1, 1]])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 5),
    st.integers(1, 12),
    st.integers(2, 5),
    st.floats(0, 0.7),
    st.sampled_from(["nominal", "ordinal", "interval"]),
    SEED,
)
def test_alpha_is_that_of_the_krippendorff_package_with_missing_values(raters, units, k, missing, level, seed):
    rng = np.random.default_rng(seed)
    ratings = rng.integers(0, k, size=(raters, units))
    ratings[rng.random(ratings.shape) < missing] = ag.MISSING
    values = np.cumsum(rng.integers(1, 4, size=k)).astype(float)
    ours = ag.krippendorff_alpha(ag.rating_counts(ratings, k=k), level=level, values=values)
    shared = ratings[:, (ratings >= 0).sum(axis=0) >= 2]
    if len(np.unique(shared[shared >= 0])) < 2:
        assert ours is None
        return
    data = np.where(ratings >= 0, values[ratings], np.nan)
    theirs = krippendorff.alpha(reliability_data=data, value_domain=values, level_of_measurement=level)
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_alpha_of_two_raters_by_hand():
    # Units (a,a), (a,b), (b,b): coincidences aa 2, bb 2, ab 1+1; totals 3 and 3 of 6.
    # Observed disagreement 2; expected 2*9/5 = 3.6; alpha = 1 - 2/3.6 = 0.4444.
    assert ag.krippendorff_alpha([[2, 0], [1, 1], [0, 2]]) == pytest.approx(4 / 9)


def test_ac1_by_hand():
    # Gwet's point: 118 of 125 agree, mostly on one category. Observed .944; mean share of category one
    # (118+0.5*... ) = (123 + 120)/250 = .972; chance = 2*.972*.028 = .054432; AC1 = (.944 - .054432)/(1 - .054432).
    # Table: both-one 118, one-two 5, two-one 2, both-two 0.
    counts = [[2, 0]] * 118 + [[1, 1]] * 7
    assert ag.gwet_ac1(counts) == pytest.approx((0.944 - 0.054432) / (1 - 0.054432))
    assert ag.cohen_kappa([[118, 5], [2, 0]]) == pytest.approx(-0.0234, abs=1e-4)


def ac1_by_loops(ratings, k):
    """The formula read off Gwet 2008 for missing ratings, one unit and one category at a time."""
    units = [[r for r in column if r >= 0] for column in np.asarray(ratings).T]
    agree = [
        sum(u.count(q) * (u.count(q) - 1) for q in range(k)) / (len(u) * (len(u) - 1)) for u in units if len(u) >= 2
    ]
    rated = [u for u in units if u]
    share = [sum(u.count(q) / len(u) for u in rated) / len(rated) for q in range(k)]
    chance = sum(s * (1 - s) for s in share) / (k - 1)
    return (sum(agree) / len(agree) - chance) / (1 - chance)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 12), st.integers(2, 5), SEED)
def test_ac1_is_the_formula_written_as_loops_with_missing_ratings(raters, units, k, seed):
    rng = np.random.default_rng(seed)
    ratings = rng.integers(ag.MISSING, k, size=(raters, units))
    assume(((ratings >= 0).sum(axis=0) >= 2).any())
    assert ag.gwet_ac1(ag.rating_counts(ratings, k=k)) == pytest.approx(ac1_by_loops(ratings.tolist(), k), abs=1e-9)


@pytest.mark.parametrize("perfect", [np.diag([4, 3, 2]), np.diag([1, 1])])
def test_full_agreement_on_several_categories_is_one_everywhere(perfect):
    counts = np.repeat(2 * np.eye(len(perfect), dtype=int), np.diag(perfect), axis=0)
    for figure in (ag.fleiss_kappa, ag.randolph_kappa, ag.gwet_ac1, ag.krippendorff_alpha):
        assert figure(counts) == pytest.approx(1.0)
    assert ag.cohen_kappa(perfect) == pytest.approx(1.0)


def test_what_the_data_do_not_define_is_none_and_never_nan():
    nothing = np.zeros((0, 3), dtype=int)
    assert ag.cohen_kappa(np.zeros((2, 2))) is None
    assert ag.cohen_kappa(np.zeros((0, 0))) is None
    assert ag.cohen_kappa([[7, 0], [0, 0]]) is None  # both always said the same one thing: chance agrees fully
    assert ag.cohen_kappa_interval([[7, 0], [0, 0]]) is None
    assert ag.raw_agreement(np.zeros((2, 2))) is None
    assert ag.macro_scores(np.zeros((2, 2))) is None
    for figure in (ag.fleiss_kappa, ag.randolph_kappa, ag.gwet_ac1, ag.krippendorff_alpha):
        assert figure(nothing) is None
        assert figure([[1, 0, 0]]) is None  # a single rating
    assert ag.fleiss_kappa([[2, 0], [2, 0]]) is None
    assert ag.krippendorff_alpha([[2, 0], [2, 0]]) is None


def test_labels_of_unlike_kinds_can_be_tabulated():
    labels, table = ag.confusion([1, "tie", None, 0], [1, 0, 0, 0])
    assert labels == [0, 1, "tie"]
    assert table.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_tables_that_are_no_tables_are_refused():
    for bad in ([[1, 2]], [[-1, 0], [0, 1]], [[np.nan, 0], [0, 1]]):
        with pytest.raises(ValueError, match="contingency table"):
            ag.cohen_kappa(bad)
    with pytest.raises(ValueError, match="one length"):
        ag.contingency([0, 1], [0], k=2)
