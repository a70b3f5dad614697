"""Data that come late, never, or no more wanted."""

import itertools
import threading
import time

import pytest

from ar_seg_jax.errors import Stalled, UserError
from ar_seg_jax.training import delivery


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(delivery, 'PATIENCE', 0.2)
    monkeypatch.setattr(delivery, '_LOOK', 0.05)


def _stuck_after(count):
    yield from range(count)
    threading.Event().wait()


def test_items_come_in_order_and_end():
    assert list(delivery.delivered(range(100))) == list(range(100))
    assert list(itertools.islice(delivery.delivered(itertools.count()), 5)) == [0, 1, 2, 3, 4]


def test_the_reader_is_reported_when_nothing_comes():
    items = delivery.delivered(_stuck_after(2))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(Stalled, match=r'^no images came for 0 s: reading hangs, on a disk or file server that does not answer'):
        next(items)


def test_what_is_computed_may_take_longer():
    def slow():
        time.sleep(0.5)
        yield 1

    assert list(delivery.delivered(slow(), computed=True)) == [1]


def test_nobody_waits_who_was_asked_to_stop():
    with pytest.raises(delivery.Interrupted):
        next(delivery.delivered(_stuck_after(0), leave=lambda: True))


def test_errors_of_the_reader_are_those_of_the_one_who_reads():
    def damaged():
        yield 1
        raise UserError('example 7 is damaged')

    items = delivery.delivered(damaged())
    assert next(items) == 1
    with pytest.raises(UserError, match=r'^example 7 is damaged$'):
        next(items)


def test_a_reader_ends_when_nothing_more_is_wanted():
    ended = threading.Event()

    def endless():
        try:
            yield from itertools.count()
        finally:
            ended.set()

    items = delivery.delivered(endless())
    next(items)
    items.close()
    assert ended.wait(10)
