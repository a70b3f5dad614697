"""The order of runs, and what it is worth."""

import json

import pytest
from scipy import stats

from ar_seg_jax.choosing import ranking
from ar_seg_jax.choosing.criteria import Criteria
from ar_seg_jax.choosing.ranking import Candidate


def _candidates(scores=(0.5, 0.7, 0.6), seeds=(0.9, 0.1, 0.2)):
    values = [(0.1, 0.9, 0.5, 0.5, 0.3), (0.4, 0.8, 0.5, 0.7, 0.2), (0.3, 0.7, 0.5, 0.6, 0.1)]
    return [
        Candidate(name, Criteria(*row, seed), score) for name, row, seed, score in zip('abc', values, seeds, scores, strict=True)
    ]


def test_runs_are_ordered_by_the_mean_of_their_places():
    found = ranking.ranked(_candidates())
    # places of a: 3 1 2 3 1 1, of b: 1 2 2 1 2 3, of c: 2 3 2 2 3 2; the third criterion is the same for all
    assert [one.name for one in found.candidates] == ['a', 'b', 'c']
    assert found.places == pytest.approx([11 / 6, 11 / 6, 14 / 6])


def test_a_criterion_that_some_runs_lack_has_no_say():
    found = ranking.ranked(_candidates(seeds=(0.9, None, None)))
    assert [one.name for one in found.candidates] == ['b', 'a', 'c']
    assert found.places == pytest.approx([8 / 5, 10 / 5, 12 / 5])
    assert '| b | 1.6 | 0.400 | 0.800 | 0.500 | 0.700 | 0.200 | - | 0.700 |' in found.markdown()


def test_a_criterion_is_worth_its_rank_correlation_and_what_it_chooses():
    found = ranking.ranked(_candidates())
    scores = [one.score for one in found.candidates]
    correlations = found.correlations()
    neighbours = [one.criteria.neighbours for one in found.candidates]
    assert correlations['neighbours'] == (pytest.approx(stats.spearmanr(neighbours, scores).statistic), 0.7)
    assert correlations['mirrored'][1] == 0.5
    assert correlations['low_contrast'][0] is None
    assert correlations[ranking.TOGETHER] == (pytest.approx(stats.spearmanr([-11, -11, -14], [0.5, 0.7, 0.6]).statistic), 0.5)
    assert found.markdown().endswith('mIoU of the best run: 0.700, of the median one: 0.600.')
    assert json.loads(json.dumps(found.content(), allow_nan=False))['criteria']['mirrored']['chosen'] == 0.5


def test_without_labels_nothing_is_said_of_scores():
    found = ranking.ranked(_candidates(scores=(None, None, None)))
    assert found.correlations() == {} and 'mIoU' not in found.markdown()


def test_the_agreement_of_a_run_is_the_mean_over_its_pairs():
    criteria = {name: Criteria(0.0, 0.0, 0.0, 0.0, 0.0) for name in 'abcd'}
    found = ranking.with_seeds(criteria, {('a', 'b'): 0.5, ('a', 'c'): 0.7, ('b', 'c'): 0.1})
    assert [found[name].seeds for name in 'abcd'] == [pytest.approx(0.6), pytest.approx(0.3), pytest.approx(0.4), None]
