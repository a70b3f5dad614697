import numpy as np
import pytest
import skimage.data

from ar_seg_jax.data import builder, pipeline, textures
from ar_seg_jax.data.limits import DataError


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    data_dir = str(tmp_path_factory.mktemp('tfds'))
    return builder.prepare(textures.builder(data_dir=data_dir, size=64, train_count=20, val_count=20))


def _examples(data, split):
    source = pipeline.source(data, split)
    return [pipeline.decode(source[index]) for index in range(len(source))]


def test_every_grey_value_is_equally_common_in_every_texture():
    for name in textures.PHOTOGRAPHS:
        counts = np.bincount(textures.photograph(name, 1.0).reshape(-1), minlength=256)
        assert counts.min() == counts.max() == 512 * 512 // 256


def test_equalising_keeps_the_order_of_grey_values():
    image, original = textures.photograph('gravel', 1.0).reshape(-1), skimage.data.gravel().reshape(-1)
    order = np.argsort(original, kind='stable')
    assert (np.diff(image[order].astype(int)) >= 0).all()


def test_collages_hold_all_textures_and_their_label_says_which(prepared):
    photographs = [textures.photograph(name, 0.5)[:, :128] for name in textures.PHOTOGRAPHS]
    for example in _examples(prepared, 'train')[:3]:
        assert set(np.unique(example['label'])) == {0, 1, 2}
        # a row of 12 pixels inside a region is found in the photograph of its label, and in it only
        row, column = next(
            (row, column)
            for row in range(64)
            for column in range(52)
            if len(np.unique(example['label'][row, column : column + 12])) == 1
        )
        piece = example['image'][row, column : column + 12, 0]
        found = [_contains(photograph, piece) or _contains(photograph, piece[::-1]) for photograph in photographs]
        assert found == [index == example['label'][row, column] for index in range(3)]


def test_training_and_validation_show_different_halves(prepared):
    for split, half in (('train', np.s_[:, :128]), ('val', np.s_[:, 128:])):
        example = _examples(prepared, split)[0]
        for texture, name in enumerate(textures.PHOTOGRAPHS):
            rows, columns = np.nonzero(example['label'] == texture)
            inside = [
                (row, column)
                for row, column in zip(rows, columns, strict=True)
                if column + 12 <= 64 and (example['label'][row, column : column + 12] == texture).all()
            ]
            piece = example['image'][inside[0][0], inside[0][1] : inside[0][1] + 12, 0]
            photograph = textures.photograph(name, 0.5)[half]
            assert _contains(photograph, piece) or _contains(photograph, piece[::-1])


def test_the_same_options_give_the_same_pixels(prepared, tmp_path):
    again = builder.prepare(textures.builder(data_dir=str(tmp_path), size=64, train_count=20, val_count=20))
    for one, two in zip(_examples(prepared, 'val'), _examples(again, 'val'), strict=True):
        np.testing.assert_array_equal(one['image'], two['image'])


def test_a_collage_larger_than_its_photographs_is_refused(tmp_path):
    with pytest.raises(DataError, match='a collage of 200 pixels does not fit into half a photograph, 128 pixels'):
        textures.builder(data_dir=str(tmp_path), size=200)


def _contains(photograph, piece):
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (1, piece.size))
    return bool((windows == piece).all(axis=(2, 3)).any())


def test_a_process_that_waited_for_another_one_to_prepare_reads_what_that_wrote(tmp_path):
    options = {'data_dir': str(tmp_path), 'size': 64, 'train_count': 4, 'val_count': 2}
    waiting = textures.builder(**options)
    builder.prepare(textures.builder(**options))
    assert not waiting.info.splits  # it looked before
    assert len(pipeline.source(builder.prepare(waiting), 'train')) == 4


def test_data_is_not_prepared_where_nothing_may_be_written(tmp_path):
    with pytest.raises(DataError, match='is not prepared there; give --data_dir=DIR'):
        builder.prepare(textures.builder(data_dir=str(tmp_path / 'new'), size=64, train_count=4, val_count=2), may_write=False)
    assert not (tmp_path / 'new').exists()
