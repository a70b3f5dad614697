"""A run that is disturbed again and again ends like one that is not, and what is not as promised would be told."""

import functools
import importlib
import json
import operator
import random
import signal
from pathlib import Path

import pytest

from ar_seg_jax import build
from benchmarks import ends, report, soak
from benchmarks.soaking import damage, promises, runs
from benchmarks.soaking.course import Course
from benchmarks.soaking.figures import Figures
from benchmarks.soaking.kinds import Seen
from benchmarks.soaking.life import Ending, Life
from tests.support import compilation

LOSS = 'error: process 1: Another process ended or cannot be reached'


def _ending(status, told='', hung=False):
    return Ending(status, 1.0, told, hung)


def test_every_method_is_disturbed():
    configs = {config for config, _ in runs.METHODS.values()}
    assert build.METHODS.keys() <= runs.METHODS.keys() and {'mdc', 'picie_h'} <= runs.METHODS.keys()
    assert len(configs) == len(runs.METHODS)


@pytest.mark.parametrize('method', runs.METHODS)
def test_the_config_of_a_method_has_the_keys_that_are_set(method):
    places = dict.fromkeys(('run', 'images', 'data', 'programs'), Path('here'))
    flags = runs.command(method, 1, 10, **places)
    config = importlib.import_module(f'configs.{runs.METHODS[method][0]}').get_config()
    keys = [flag.removeprefix('--config.').partition('=')[0] for flag in flags if flag.startswith('--config.')]
    assert len(keys) > 10
    for key in keys:
        *parts, last = key.split('.')
        assert last in functools.reduce(operator.getitem, parts, config), key


def test_a_disturbed_run_ends_like_one_that_nobody_disturbs(tmp_path, monkeypatch):
    monkeypatch.setenv(report.ELSEWHERE, str(tmp_path))
    monkeypatch.setitem(runs.ENVIRONMENT, 'XLA_FLAGS', compilation.flags())
    deck = soak.Deck(random.Random(0), ['SIGTERM', 'checkpoint'])
    figures = soak.Figures()
    course = Course('mixture', 1, tmp_path / 'course', random.Random(0), None, length=40)
    soak.disturb(course, deck, 2, figures)
    assert figures.wrong == [] and len(figures) == 2
    (found,) = json.loads((tmp_path / 'soak_cpu.json').read_text())['runs'].values()
    assert found['runs'] >= 1 and (found['arrays'], found['records'], found['scores']) == (0, 0, 0)


@pytest.mark.parametrize(
    ('right', 'wrong', 'judge'),
    [
        (_ending(-9), _ending(1), promises.of_kill),
        (_ending(75), _ending(-15), lambda ending: promises.of_sigterm(ending, several=False, begun=True)),
        (_ending(-15), _ending(1), lambda ending: promises.of_sigterm(ending, several=False, begun=False)),
        (_ending(75), _ending(1, LOSS), lambda ending: promises.of_sigterm(ending, several=True, begun=True)),
        (_ending(137, LOSS), _ending(137), lambda ending: promises.of_lost_peer(ending, at_end=False)),
        (_ending(None), _ending(None, hung=True), promises.of_pause),
        (_ending(None), _ending(None, 'Traceback (most recent call last)'), promises.of_pause),
        (_ending(1, 'error: a: No space left on device'), _ending(1, 'error: a'), promises.of_disk),
        (_ending(1, LOSS), _ending(75, LOSS), lambda ending: promises.of_clock(ending, several=True)),
        (_ending(1, 'a.png'), _ending(1, 'b.png'), lambda ending: promises.of_refusal(ending, 'a.png')),
        (_ending(None, 'Resuming after step 2'), _ending(None), lambda e: promises.of_checkpoint(e, others=True, noticed=True)),
        (_ending(1, 'nothing was deleted'), _ending(1), lambda e: promises.of_checkpoint(e, others=False, noticed=True)),
    ],
)
def test_an_ending_that_is_not_as_promised_is_told_from_one_that_is(right, wrong, judge):
    assert judge(right) == '' and judge(wrong)


def test_records_that_differ_or_lack_are_counted_but_for_those_that_were_lost(tmp_path):
    kinds = [(1, 'training'), (2, 'training'), (2, 'evaluation')]
    for name, loss, kept in (('one', 0.5, kinds), ('other', 0.25, kinds), ('short', 0.5, kinds[1:])):
        (tmp_path / name).mkdir()
        lines = [{'step': step, 'kind': kind, 'loss': loss * step, 'seconds_left': loss} for step, kind in kept]
        (tmp_path / name / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    one, other, short = (tmp_path / name for name in ('one', 'other', 'short'))
    assert (ends.differing_records(one, one), ends.differing_records(one, other)) == (0, 3)
    assert ends.differing_records(one, short) > 0 and ends.differing_records(one, short, {(1, 'training')}) == 0


def test_damage_changes_a_file_in_each_of_its_ways(tmp_path):
    rng, seen, path = random.Random(0), set(), tmp_path / 'file'
    for _ in range(30):
        path.write_bytes(bytes(100))
        seen.add(damage.harm(path, rng).split()[0])
        assert not path.exists() or path.read_bytes() != bytes(100)
    assert seen == {'flipped', 'overwritten', 'truncated', 'removed'}


def test_a_life_that_does_not_end_is_a_hang_and_is_ended(tmp_path):
    with Life(['sleep', '100'], tmp_path / 'log') as life:
        assert life.ending(0.1).hung and not life.ending(0.1).status
        life.signal(life.all(), signal.SIGSTOP)
    assert life.status == -signal.SIGKILL and not Path(f'/proc/{life.process.pid}').exists()


def test_a_traceback_is_told_wherever_it_was_shown(tmp_path, monkeypatch):
    monkeypatch.setenv(report.ELSEWHERE, str(tmp_path))
    figures, course = Figures(), Course('mixture', 1, tmp_path / 'course', random.Random(0), None)
    told = f'{tmp_path}/course/run: broken\nTraceback (most recent call last):\nOSError: gone\n' + 'and so on\n' * 300
    figures.fault(course, 'kill', 'save', Seen(_ending(0, told), 'it showed a traceback'))
    assert figures.wrong[0]['told'].startswith('DIR/run: broken\nTraceback (most recent call last):\nOSError: gone\n')


def test_what_is_told_of_a_traceback_names_no_place_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv(report.ELSEWHERE, str(tmp_path))
    figures, course = Figures(), Course('mixture', 1, tmp_path / 'course', random.Random(0), None)
    places = (soak.__file__, json.__file__, pytest.__file__, tmp_path / 'course' / 'images')
    told = 'Traceback (most recent call last):\n' + ''.join(f'  File "{place}", line 1\n' for place in places)
    figures.fault(course, 'kill', 'save', Seen(_ending(0, told), 'it showed a traceback'))
    shown = [line.split('"')[1] for line in figures.wrong[0]['told'].splitlines()[1:]]
    assert shown[0] == 'REPOSITORY/benchmarks/soak.py' and shown[3] == 'DIR/images'
    assert shown[1].startswith('PYTHON/') and shown[2].startswith('PYTHON/')
