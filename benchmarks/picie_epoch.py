"""An epoch of PiCIE in JAX and in PyTorch, measured side by side.

    python -m benchmarks.picie_epoch --batch 8 --side 128 --batches 4 --rounds 5

An epoch is what comes before it, clusters of both views, and a training step for each batch. Ours makes the views within its
programs, twice; PyTorch gets them made, since PiCIE leaves that to its loader: `--colours none` leaves ours the cut alone. Ours
labels batches within the steps, PyTorch in passes before them, as the released code does. Both learn from the same images with
the same k-means and sizes, in float32 and from the same weights, and nothing is on disk.

Prints a table of medians and quartiles, and writes benchmarks/results/picie_epoch_<sizes>_<platform>.json. `--against` without a
form leaves out PyTorch, which requirements.txt does not have (`pip install torch`). Preparation is the first epoch, in which both
compile.
"""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ar_seg_jax.augmentations.geometry import Crop
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Extra
from ar_seg_jax.methods.picie import PiCIE
from ar_seg_jax.methods.views import Images, Input
from benchmarks import comparison, timing
from configs import common


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of an epoch of PiCIE. Networks and clusters are those of COCO-Stuff with 27 classes.

    batches: of an epoch, `initial_batches` of which k-means begins with. side: of images and of what the network sees, pixels.
    base, width: channels of the first stage of the ResNet and of the features. vectors: places of each image that k-means sees, 0
    for all. colours: how ours changes those of views.
    """

    batch: int = 8
    side: int = 128
    batches: int = 4
    base: int = 64
    width: int = 128
    clusters: int = 27
    initial_batches: int = 2
    iterations: int = 20
    vectors: int = 400
    colours: str = 'released'
    dtype: str = 'float32'

    def __post_init__(self):
        if self.side < 32 or self.side % 32:
            raise UserError(f'--side is a multiple of 32 pixels, of which the last stage has one cell; found {self.side}')

    def to_config(self) -> dict[str, Any]:
        """What `build.method` makes the method of the epoch from."""
        model = {
            **common.resnet_fpn(),
            'width': self.width,
            'base_channels': self.base,
            'geometry': 'paper',
            'dtype': self.dtype,
        }
        method = {
            **common.picie(),
            'num_clusters': self.clusters,
            'scores': 'dot',
            'colours': self.colours,
            'initial_batches': self.initial_batches,
            'iterations': self.iterations,
            'vectors_of_image': self.vectors,
        }
        return {'model': model, 'method': method}

    @property
    def name(self) -> str:
        network = f'base_{self.base}_width_{self.width}'
        search = f'{self.clusters}_clusters_{self.initial_batches}_initial_{self.iterations}_iterations_{self.vectors}_vectors'
        return f'{self.batches}x{self.batch}x{self.side}x{self.side}_{network}_{search}_{self.colours}_{self.dtype}'


def contestants(workload: Workload, forms: Sequence[str]) -> list[timing.Contestant]:
    """JAX first, then the forms of PyTorch, in float32 and from the same weights and views."""
    import jax

    from benchmarks.package_epoch import package_epoch
    from benchmarks.package_step import RATE

    shape = (workload.batches, workload.batch, workload.side, workload.side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ours, method, state = package_epoch(workload, images)
    if not forms:
        return [ours]
    from benchmarks import pytorch_picie, pytorch_reference

    device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
    make_views = jax.jit(functools.partial(views, method, state.extra))
    batches = [pytorch_picie.Batch.of(*make_views(batch), device) for batch in images]
    epochs = [ours]
    for form in forms:
        network = pytorch_picie.Network(images.shape[-1], workload.base, workload.width).to(device)
        pytorch_reference.load(network, state.params['network'], state.extra['batch_stats']['network'])
        epochs.append(pytorch_picie.epoch(form, network, batches, workload.clusters, method.search, RATE))
    return epochs


def views(method: PiCIE, extra: Extra, image: Images) -> tuple[tuple[Input, Input], Crop]:
    """Both views of images as they are drawn for the epoch of `extra`, and the part that they show."""
    drawn = method.draw(extra, image)
    return method.inputs(image, drawn), drawn.crops


def main():
    comparison.main('picie_epoch', __doc__, Workload, contestants)


if __name__ == '__main__':
    sys.exit(main())
