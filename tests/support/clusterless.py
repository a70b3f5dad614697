"""A method without clusters, which is AC in all else: it reads the checkpoints of a run of AC.

As a program, `predict` for such a method: python tests/support/clusterless.py --workdir=... --input=... --output=...
"""

import functools
import runpy
import sys
from pathlib import Path

import pytest

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[2]))

from ar_seg_jax import build
from ar_seg_jax.interfaces import Outputs
from ar_seg_jax.methods import ac


class Clusterless(ac.AC):
    """Predicts features only."""

    title = 'Clusterless'
    num_clusters = 0

    def predict(self, params, extra, image):
        return Outputs(features=super().predict(params, extra, image)['features'])


def instead_of_ac(monkeypatch: pytest.MonkeyPatch):
    """Runs of AC become those of this method."""

    @functools.wraps(ac.build)
    def built(**options):
        return Clusterless(**vars(ac.build(**options)))

    monkeypatch.setitem(build.METHODS, 'ac', built)


if __name__ == '__main__':
    with pytest.MonkeyPatch.context() as monkeypatch:
        instead_of_ac(monkeypatch)
        runpy.run_module('ar_seg_jax.predict', run_name='__main__')
