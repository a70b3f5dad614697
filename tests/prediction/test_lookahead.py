import threading

import pytest

from ar_seg_jax.prediction import lookahead


def test_results_and_errors_come_in_the_order_of_the_items_however_long_they_take():
    later = threading.Event()

    def work(item):
        if item == 0:
            assert later.wait(10)  # until a later item is done
        later.set()
        return 1 / (item - 3)

    found = []
    for item, result in lookahead.in_order(work, range(6), 2):
        if item == 3:
            with pytest.raises(ZeroDivisionError):
                result()
        else:
            assert result() == 1 / (item - 3)
        found.append(item)
    assert found == list(range(6))


@pytest.mark.parametrize('count', [1, 3])
def test_no_more_items_are_begun_than_may_be_in_memory(count):
    begun = []
    for done, (item, result) in enumerate(lookahead.in_order(begun.append, range(9), count)):
        result()
        assert item == done and len(begun) <= done + count
    assert sorted(begun) == list(range(9))
