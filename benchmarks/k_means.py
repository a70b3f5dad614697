"""k-means by itself, as PiCIE begins its epochs: on the devices, in PyTorch, and by scikit-learn on CPU, measured side by side.

    python -m benchmarks.k_means --batches 32 --places 400 --clusters 27 --rounds 5

All make so many of Lloyd's iterations from vectors that they draw, in float32. Ours sees a batch at a time; PyTorch and
scikit-learn have all vectors in one array. Prints a table of medians and quartiles, and writes
benchmarks/results/k_means_<sizes>_<platform>.json. `--against` without a form leaves out PyTorch, which requirements.txt does not
have (`pip install torch`). Preparation is the first run, in which JAX and torch.compile compile.
"""

import dataclasses
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import comparison, timing


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of a search for clusters; clusters, iterations and channels are those of PiCIE on COCO-Stuff with 27 classes.

    places: vectors of each image.
    """

    batches: int = 32
    images: int = 8
    places: int = 400
    channels: int = 128
    clusters: int = 27
    iterations: int = 20

    @property
    def name(self) -> str:
        vectors = f'{self.batches}x{self.images}x{self.places}_vectors_of_{self.channels}'
        return f'{vectors}_{self.clusters}_clusters_{self.iterations}_iterations'

    @property
    def vectors(self) -> np.ndarray:
        """(batches, images, places, channels), float32: as many groups as clusters, which overlap."""
        rng = np.random.default_rng(0)
        shape = self.batches, self.images, self.places
        middles = rng.normal(size=(self.clusters, self.channels)).astype(np.float32)
        return middles[rng.integers(self.clusters, size=shape)] + rng.normal(size=(*shape, self.channels)).astype(np.float32)


def contestants(workload: Workload, forms: Sequence[str]) -> list[timing.Contestant]:
    """JAX first, then scikit-learn and the forms of PyTorch."""
    vectors = workload.vectors
    flat = vectors.reshape(-1, workload.channels)
    others = [_pytorch(form, workload, flat) for form in forms]
    return [_jax(workload, vectors), _scikit_learn(workload, flat), *others]


def _jax(workload: Workload, vectors: np.ndarray) -> timing.Contestant:
    import jax
    import jax.numpy as jnp

    from ar_seg_jax.objectives import k_means

    blocks = [k_means.Block(jnp.asarray(batch), jnp.ones(batch.shape[:2], bool)) for batch in vectors]
    key = jax.random.key(0)
    return _prepared('JAX', lambda: jax.block_until_ready(k_means.find(blocks, workload.clusters, workload.iterations, key)))


def _scikit_learn(workload: Workload, vectors: np.ndarray) -> timing.Contestant:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    search = KMeans(workload.clusters, init='random', n_init=1, max_iter=workload.iterations, tol=0, random_state=0)

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)
            search.fit(vectors)

    return _prepared('scikit-learn, CPU', run)


def _pytorch(form: comparison.Form, workload: Workload, vectors: np.ndarray) -> timing.Contestant:
    import jax
    import torch

    from benchmarks import pytorch_k_means

    device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
    totals = torch.compile(pytorch_k_means.totals) if form == 'compiled' else pytorch_k_means.totals
    tensor = torch.from_numpy(vectors).to(device)

    def run():
        found = pytorch_k_means.find(tensor, workload.clusters, workload.iterations, totals)
        return found.sizes.sum().item()  # waits for the device

    return _prepared(f'PyTorch, {form}', run)


def _prepared(name: str, run: Callable[[], Any]) -> timing.Contestant:
    return timing.Contestant(name, run, {'preparation_seconds': timing.once(run)})


def main():
    comparison.main('k_means', __doc__, Workload, contestants)


if __name__ == '__main__':
    sys.exit(main())
