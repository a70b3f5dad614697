"""What is said of memory against an array whose size is known."""

import jax
import numpy as np
import pytest

from ar_seg_jax.training import memory


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='resident memory is that of CPU runs')
def test_the_peak_has_grown_by_an_array_and_stays_when_it_is_gone():
    size = memory.peak_bytes() + 2**28  # larger than what was ever held, whatever is held now
    held = np.ones(size, np.uint8)
    with_it = memory.peak_bytes()
    assert with_it >= held.nbytes
    del held
    assert memory.peak_bytes() >= with_it


def test_the_peak_of_accelerators_is_that_of_the_fullest(monkeypatch):
    class Device:
        def __init__(self, peak):
            self.memory_stats = lambda: peak and {'peak_bytes_in_use': peak}

    monkeypatch.setattr(jax, 'local_devices', lambda: [Device(5), Device(7), Device(None)])
    assert memory.peak_bytes() == 7
