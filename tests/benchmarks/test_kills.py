"""A run that is killed again and again ends like one that is not."""

from benchmarks import kills


def test_kills_at_random_moments_and_during_saves_change_nothing(tmp_path):
    found = kills.survive(3, tmp_path, steps=30)
    assert found['kills'].get('during a save', 0) >= 1
    assert sum(found['kills'].values()) - found['kills'].get('after its end', 0) == 3
    assert (found['status'], found['error']) == (0, '')
    assert found['records'] == 30 + 5  # steps and evaluations
    assert (found['differing_arrays'], found['differing_records'], found['damaged']) == (0, 0, 0)
