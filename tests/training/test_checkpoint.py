"""Checkpoints that are damaged, cannot be written, or do not fit."""

import errno
import json
import os
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ar_seg_jax.errors import Diverged, Stalled, UserError
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.state import TrainState

# Of what Orbax leaves behind where reading fails.
pytestmark = [
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
    pytest.mark.usefixtures('collected'),
]


def _state(step, size=2000):
    """Four arrays of different kinds; `size` entries that do not compress in the largest."""
    rng = np.random.default_rng(step)
    return TrainState(
        step=jnp.int32(step),
        params={'kernel': jnp.asarray(rng.normal(size=(size // 4, 4)), jnp.float32), 'bias': jnp.zeros(3, jnp.bfloat16)},
        extra={},
        opt_state=(jnp.asarray(rng.integers(0, 99, 5)),),
        key=jax.random.key(step),
        skipped=jnp.int32(0),
        skipped_in_row=jnp.int32(0),
    )


def _saved(directory, steps, **options):
    checkpoints = Checkpoints(directory, writable=True, **options)
    for step in steps:
        checkpoints.save(_state(step))
    checkpoints.close()


def _assert_is(state, step):
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(_state(step)), strict=True):
        assert one.dtype == two.dtype
        if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, two = jax.random.key_data(one), jax.random.key_data(two)
        np.testing.assert_array_equal(one, two)


def _files(directory):
    return sorted(path for path in directory.rglob('*') if path.is_file())


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Checkpoints of steps 1 and 2."""
    directory = tmp_path_factory.mktemp('two') / 'checkpoints'
    _saved(directory, (1, 2))
    return directory


@pytest.fixture
def copy(two, tmp_path):
    return shutil.copytree(two, tmp_path / 'run' / 'checkpoints')


def test_the_newest_and_every_mth_are_kept(tmp_path):
    _saved(tmp_path, range(1, 9), keep=2, keep_every=3)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [3, 6, 7, 8]


def test_any_altered_byte_and_any_lost_file_is_harmless_or_noticed(two, tmp_path, caplog):
    rng = np.random.default_rng(0)
    files = [path.relative_to(two) for path in _files(two / '2')]
    assert len(files) > 8
    like, noticed = _state(0), 0
    for round in range(60):
        directory = shutil.copytree(two, tmp_path / str(round))
        # Every file is cut, altered or removed in turn, then files at random.
        file = directory / (files[round % len(files)] if round < 2 * len(files) else files[rng.integers(len(files))])
        content = bytearray(file.read_bytes())
        place = int(rng.integers(len(content)))
        if round % 3 == 0:
            content[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(content)
        elif round % 3 == 1:
            file.write_bytes(content[:place])
        else:
            file.unlink()
        caplog.clear()
        state = Checkpoints(directory).restore(like)
        told = f'{directory / "2"} is damaged: ' in caplog.text
        noticed += told
        _assert_is(state, 1 if told else 2)
    assert noticed > 5  # about a third


@pytest.mark.parametrize(('item', 'array'), [('model', 'params/kernel'), ('training', 'key')])
def test_altered_content_in_a_valid_file_is_noticed(copy, caplog, item, array):
    """Only the checksums can see this: Orbax reads it without complaint."""
    other = copy.parent / 'other'
    _saved(other, (3,))
    shutil.rmtree(copy / '2' / item)
    shutil.copytree(other / '3' / item, copy / '2' / item)
    _assert_is(Checkpoints(copy).restore(_state(0)), 1)
    assert f'2 is damaged: the content of {item}/{array} is not what was saved' in caplog.text


def test_the_model_is_restored_without_the_rest(copy, caplog):
    """Evaluation and prediction read nothing else, and are not disturbed by what is wrong with it."""
    shutil.rmtree(copy / '2' / 'training')
    model = Checkpoints(copy).restore_model(_state(0).model)
    expected = _state(2)
    assert int(model.step) == 2 and model.extra == {} and 'damaged' not in caplog.text
    for name, array in expected.params.items():
        np.testing.assert_array_equal(model.params[name], array)
    assert int(Checkpoints(copy).restore_model(_state(0).model, step=1).step) == 1
    shutil.rmtree(copy / '2' / 'model')
    assert int(Checkpoints(copy).restore_model(_state(0).model).step) == 1
    assert '2 is damaged: ' in caplog.text


def test_what_cannot_be_read_is_told_with_the_versions_that_wrote_it(copy, caplog):
    path = copy / '2' / 'versions' / 'metadata'
    written = json.loads(path.read_text())
    assert written.keys() == {'ar_seg_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint'} and written['jax'] == jax.__version__
    for file in _files(copy / '2' / 'model' / 'd'):
        file.write_bytes(b'')
    Checkpoints(copy).restore(_state(0))
    assert '2 is damaged: ' in caplog.text and 'written with' not in caplog.text
    path.write_text(json.dumps(written | {'jax': '0.0.1'}))
    Checkpoints(copy).restore(_state(0))
    assert f' (written with jax 0.0.1, this is {jax.__version__})' in caplog.text


def test_a_checkpoint_that_a_training_removes_meanwhile_is_not_damaged(copy, caplog, monkeypatch):
    """A reader looks again at what there is, as long as something was saved since it looked."""
    reader, rounds = Checkpoints(copy), iter(range(3, 6))
    whole = reader._manager.restore

    def restore(step, **options):
        if number := next(rounds, None):  # the training saves, and removes what is being read
            _saved(copy, [number], keep=1)
        return whole(step, **options)

    monkeypatch.setattr(reader._manager, 'restore', restore)
    assert int(reader.restore_model(_state(0).model).step) == 5
    assert 'damaged' not in caplog.text
    reader = Checkpoints(copy)
    _saved(copy, [6], keep=1)
    with pytest.raises(UserError, match=r'no checkpoint of step 5; the steps are 6$'):
        reader.restore_model(_state(0).model, step=5)


def test_a_checkpoint_that_may_not_be_read_is_not_moved_aside(copy, monkeypatch):
    closed = copy / '2' / 'model' / 'manifest.ocdbt'
    whole, access = Checkpoints._try, os.access
    monkeypatch.setattr(Checkpoints, '_try', lambda self, step, like: (None, 'denied') if step == 2 else whole(self, step, like))
    monkeypatch.setattr(os, 'access', lambda path, mode: path != closed and access(path, mode))  # root may read everything
    with pytest.raises(UserError, match=rf'^{closed}: no permission to read it, and nothing was moved; change it, or start as'):
        Checkpoints(copy, writable=True).restore(_state(0))
    assert (copy / '2').exists() and not (copy.parent / 'damaged').exists()


def test_a_checkpoint_with_a_link_in_it_is_not_read_and_not_moved_aside(copy):
    kept = max((copy / '2').rglob('*'), key=lambda path: path.lstat().st_size)
    kept.rename(copy.parent / 'elsewhere')
    kept.symlink_to(copy.parent / 'elsewhere')
    with pytest.raises(UserError, match=f'{kept} is a link, which is not read'):
        Checkpoints(copy, writable=True).restore(_state(0))
    assert kept.is_symlink()


def test_a_copy_under_another_step_is_refused(copy, caplog):
    shutil.copytree(copy / '1', copy / '70')
    _assert_is(Checkpoints(copy, writable=True).restore(_state(0)), 2)
    assert '70 is damaged: it holds the state of step 1, as a copy under another name would' in caplog.text
    assert (copy.parent / 'damaged' / '70').exists()


@pytest.mark.parametrize('content', ['[1, 2]', '{"model": {}}', '{"model": [], "training": {}}'])
def test_checksums_of_another_form_are_damage(copy, caplog, content):
    (copy / '2' / 'checksums' / 'metadata').write_text(content)
    _assert_is(Checkpoints(copy).restore(_state(0)), 1)
    assert '2 is damaged: its checksums are not those of arrays' in caplog.text


def test_no_run_goes_without_checkpoints(tmp_path):
    with pytest.raises(UserError, match=r'^--config\.keep_checkpoints is at least 1, found 0$'):
        Checkpoints(tmp_path, keep=0)


def test_a_run_that_goes_on_moves_damaged_checkpoints_aside_and_can_save_their_steps_again(copy):
    for file in _files(copy / '2' / 'training' / 'd'):
        file.write_bytes(b'')
    checkpoints = Checkpoints(copy, writable=True)
    _assert_is(checkpoints.restore(_state(0)), 1)
    assert checkpoints.latest == 1 and _files(copy.parent / 'damaged' / '2')
    checkpoints.save(_state(2))
    checkpoints.close()
    _assert_is(Checkpoints(copy).restore(_state(0)), 2)


def test_if_all_are_damaged_nothing_is_deleted(copy):
    for file in _files(copy):
        if file.name == 'manifest.ocdbt':
            file.unlink()
    before = _files(copy)
    with pytest.raises(UserError, match=r': no checkpoint of step 1, 2 can be used, see above; nothing was deleted\. Restore'):
        Checkpoints(copy, writable=True).restore(_state(0))
    assert _files(copy) == before


def test_a_step_that_was_asked_for_is_not_replaced_by_another(copy):
    shutil.rmtree(copy / '2' / 'model')
    with pytest.raises(UserError, match=': no checkpoint of step 2 can be used, see above; nothing was deleted'):
        Checkpoints(copy).restore(_state(0), step=2)


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        (
            {'params': {'kernel': jnp.zeros((5, 4)), 'bias': jnp.zeros(3, jnp.bfloat16)}},
            'Requested shape: (5, 4) is not compatible with the stored shape: (500, 4)',
        ),  # shape
        (
            {'params': {'kernel': jnp.zeros((500, 4), jnp.float16), 'bias': jnp.zeros(3, jnp.bfloat16)}},
            'model/params/kernel was saved as float32, and should be float16 here',
        ),  # type
        (
            {'params': {'kernel': jnp.zeros((500, 4)), 'bias': jnp.zeros(3, jnp.bfloat16), 'new': jnp.zeros(3)}},
            'tree structures do not match',
        ),  # one more
        ({'params': {'kernel': jnp.zeros((500, 4))}}, 'tree structures do not match'),  # one less
        ({'opt_state': (jnp.zeros(5), jnp.zeros(5))}, 'tree structures do not match'),
    ],
)
def test_a_state_of_another_form_is_refused(two, caplog, wrong, reason):
    with pytest.raises(UserError, match=': no checkpoint of step 2 can be used, see above; nothing was deleted'):
        Checkpoints(two).restore(_state(0).replace(**wrong), step=2)
    assert reason in caplog.text


def test_a_full_disk_is_told_and_the_last_good_checkpoint_kept(tmp_path, full_disk, caplog):
    checkpoints = Checkpoints(tmp_path, writable=True)
    large = 100_000
    checkpoints.save(_state(1, large))
    assert checkpoints.settle()
    full_disk(True)
    checkpoints.save(_state(2, large))
    assert not checkpoints.settle() or checkpoints.latest == 1
    assert 'Could not save step 2: ' in caplog.text and 'the newest checkpoint is that of step 1' in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ['1']  # the remains are gone
    checkpoints.save(_state(3, large))
    with pytest.raises(
        UserError, match=r'^the last state, of step 3, could not be saved; the newest checkpoint is that of step 1$'
    ):
        checkpoints.close()
    full_disk(False)
    checkpoints = Checkpoints(tmp_path, writable=True)
    checkpoints.save(_state(4, large))
    checkpoints.close()
    restored = Checkpoints(tmp_path).restore(_state(0, large))
    np.testing.assert_array_equal(restored.params['kernel'], _state(4, large).params['kernel'])


def test_a_save_under_way_is_completed_where_numbers_end_the_training(tmp_path):
    checkpoints = Checkpoints(tmp_path, writable=True)
    with pytest.raises(Diverged), checkpoints.completed(lambda: _state(1)):
        checkpoints.save(_state(1))
        raise Diverged
    assert checkpoints.settle(wait=False)  # nothing is left to do
    _assert_is(Checkpoints(tmp_path).restore(_state(0)), 1)


def test_reading_leaves_the_files_of_a_save_under_way_alone(copy):
    under_way = copy / '3.orbax-checkpoint-tmp'
    under_way.mkdir()
    Checkpoints(copy).restore(_state(0))
    assert under_way.exists()
    writing = Checkpoints(copy, writable=True)
    writing.save(_state(4))
    writing.close()
    assert not under_way.exists()


@pytest.fixture
def blocked(monkeypatch):
    """Orbax writes once this event is set, as on a file server that does not answer until then."""
    event, write = threading.Event(), ocp.CheckpointManager.save
    monkeypatch.setattr(ocp.CheckpointManager, 'save', lambda *args, **options: event.wait() and write(*args, **options))
    yield event
    event.set()


def _until_settled(checkpoints):
    while not checkpoints.settle(wait=False):
        time.sleep(0.01)


def test_training_waits_no_longer_than_it_should_and_saves_again_later(tmp_path, blocked, caplog):
    checkpoints = Checkpoints(tmp_path, writable=True, patience=0.2)
    checkpoints.save(_state(1))
    checkpoints.save(_state(2))
    assert 'The save of step 1 is not done after 0.2 s; training goes on without' in caplog.text
    assert 'Step 2 is not saved, since the save of step 1 is not done yet' in caplog.text
    with pytest.raises(UserError, match=r'^the last state, of step 2, could not be saved; there is no checkpoint yet$'):
        checkpoints.close()
    blocked.set()
    _until_settled(checkpoints)
    assert checkpoints.latest == 1
    checkpoints.save(_state(3))
    _until_settled(checkpoints)
    checkpoints.close()
    _assert_is(Checkpoints(tmp_path).restore(_state(0)), 3)


def test_a_save_that_does_not_end_is_an_error_in_the_end(tmp_path, blocked):
    checkpoints = Checkpoints(tmp_path, writable=True, patience=0.2)
    checkpoints.save(_state(1))
    with pytest.raises(UserError, match=r'^the last state, of step 1, could not be saved; there is no checkpoint yet$'):
        checkpoints.close()


def test_what_is_saved_is_the_state_of_then_though_later_steps_take_its_memory(tmp_path, blocked):
    state = _state(1)
    checkpoints = Checkpoints(tmp_path, writable=True)
    checkpoints.save(state)
    jax.block_until_ready(jax.jit(lambda params: jax.tree.map(lambda leaf: leaf * 0 + 7, params), donate_argnums=0)(state.params))
    # From 0.11 on JAX takes no memory that is still read.
    assert state.params['kernel'].is_deleted() or jax.__version_info__ >= (0, 11)
    blocked.set()
    checkpoints.close()
    _assert_is(Checkpoints(tmp_path).restore(_state(0)), 1)


def test_a_disk_that_becomes_read_only_ends_no_training(tmp_path, monkeypatch, caplog):
    checkpoints = Checkpoints(tmp_path, writable=True)
    with monkeypatch.context() as read_only:

        def mkdir(path, *_, **__):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        read_only.setattr(os, 'mkdir', mkdir)
        checkpoints.save(_state(1))
        assert checkpoints.settle()
    assert 'Could not save step 1: OSError: [Errno 30] Read-only file system' in caplog.text
    checkpoints.save(_state(2))
    checkpoints.close()
    _assert_is(Checkpoints(tmp_path).restore(_state(0)), 2)


def test_when_no_images_come_the_state_of_then_is_saved(tmp_path):
    with pytest.raises(Stalled), Checkpoints(tmp_path, writable=True).completed(lambda: _state(3)):
        raise Stalled
    _assert_is(Checkpoints(tmp_path).restore(_state(0)), 3)


def test_training_waits_for_saves_for_some_time(tmp_path):
    with pytest.raises(UserError, match=r'^--config\.save_seconds is more than 0, found 0\.0$'):
        Checkpoints(tmp_path, patience=0.0)
