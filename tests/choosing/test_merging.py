"""Merging, recomputed by trying every way, and the command on a real run."""

import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.choosing import merging
from ar_seg_jax.choosing.merging import Map
from ar_seg_jax.evaluation.shapes import Shape
from tests.support import commands

RNG = np.random.default_rng(0)


def _map(clusters):
    return Map(np.asarray(clusters, np.uint8), np.ones(np.shape(clusters), bool))


def _shapes(thinness):
    return [Shape(1 / len(thinness), one, 1.0) for one in thinness]


def _halves():
    """Left of clusters 0 and 3 at random, right of 1 and 2."""
    drawn = RNG.random((24, 24)) < 0.5
    return np.where(np.arange(24) < 12, np.where(drawn, 0, 3), np.where(drawn, 1, 2))


def test_pairs_are_counted_along_rows_and_columns_in_both_orders():
    maps = [_map(RNG.integers(0, 3, (7, 9))), Map(RNG.integers(0, 3, (5, 6), np.uint8), RNG.random((5, 6)) < 0.7)]
    expected = np.zeros((3, 3))
    for clusters, counted in maps:
        for row, column in np.ndindex(clusters.shape):
            for down, right in ((2, 0), (0, 2), (-2, 0), (0, -2)):
                other = row + down, column + right
                inside = 0 <= other[0] < clusters.shape[0] and 0 <= other[1] < clusters.shape[1]
                if inside and counted[row, column] and counted[other]:
                    expected[clusters[row, column], clusters[other]] += 1
    np.testing.assert_array_equal(merging.joint(maps, 2, 3), expected)


def test_clusters_that_tell_the_same_become_one_in_the_way_that_keeps_most():
    maps = [_map(_halves()) for _ in range(3)]
    found = merging.groups(maps, _shapes([0.5] * 4), 3, 2)
    assert found == [0, 1, 1, 0]
    joint = merging.joint(maps, 3, 4)
    ways = [way for way in itertools.product((0, 1), repeat=4) if len(set(way)) == 2]
    kept = {way: merging.information(np.array([[joint[np.ix_(np.array(way) == a, np.array(way) == b)].sum() for b in (0, 1)]
                                              for a in (0, 1)])) for way in ways}  # fmt: skip
    assert kept[tuple(found)] == max(kept.values())


def test_information_is_that_of_the_definition():
    joint = RNG.integers(0, 9, (3, 3)).astype(float)
    shares = joint / joint.sum()
    expected = sum(
        shares[a, b] * np.log(shares[a, b] / shares[a].sum() / shares[:, b].sum()) for a, b in np.ndindex(3, 3) if shares[a, b]
    )
    assert merging.information(joint) == pytest.approx(expected)


def test_outlines_join_the_cluster_that_they_touch_most():
    clusters = _halves() % 2
    clusters[:, 11] = 2  # between 0 (and 1) on the left and 1 (and 0) on the right
    clusters[:, :11], clusters[:, 12:] = 0, 1
    clusters[:6, 12] = 0
    found = merging.groups([_map(clusters)], _shapes([0.1, 0.1, 0.9]), 8, 2)
    assert found == [0, 1, 0]


def test_where_all_are_thin_none_is_an_outline():
    maps = [_map(_halves()) for _ in range(3)]
    assert merging.groups(maps, _shapes([0.9] * 4), 3, 2) == [0, 1, 1, 0]


def test_no_more_is_merged_than_was_asked_for():
    assert merging.groups([_map(_halves())], _shapes([0.9] * 4), 3, 4) == [0, 1, 2, 3]


def test_the_command_writes_names_that_predictions_follow(trained, tmp_path):
    directory = shutil.copytree(trained.directory, tmp_path / 'run')
    done = commands.run('merge', f'--workdir={directory}', '--clusters=2')
    assert done.returncode == 0, done.stderr
    names = json.loads((directory / 'names.json').read_text())
    assert names['step'] == 6 and sorted(set(names['names'].values())) == ['group 0', 'group 1'] and len(names['names']) == 3
    Image.fromarray(RNG.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / 'a.png')
    line = (f'--workdir={directory}', f'--input={tmp_path / "a.png"}', f'--output={tmp_path / "maps"}')
    assert commands.run('predict', *line).returncode == 0
    told = json.loads((tmp_path / 'maps' / 'classes.json').read_text())['classes']
    assert {'group 0', 'group 1'} <= {entry['name'] for entry in told}
    own = np.asarray(Image.open(tmp_path / 'maps' / 'a_labels.png'))
    assert {told[key]['name'] for key in np.unique(own)} <= {'group 0', 'group 1'}
    again = commands.run('merge', f'--workdir={directory}', '--clusters=2')
    assert again.returncode == 1 and 'names.json is there already; remove it' in again.stderr
    many = commands.run('merge', f'--workdir={directory}', '--clusters=3', f'--output={tmp_path / "other.json"}')
    assert many.returncode == 1 and 'has 3 clusters; expected more than --clusters=3' in many.stderr
