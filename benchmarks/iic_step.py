"""The IIC training step in JAX and in PyTorch, measured side by side.

    python -m benchmarks.iic_step --batch 4 --side 128 --rounds 10

Both train the heads in turn, the next one in every step. Ours changes the second view within the step; PyTorch gets it changed,
since IIC leaves that to its loader. Neither appends Sobel gradients. Prints a table of medians and quartiles, and writes
benchmarks/results/iic_step_<sizes>_<platform>.json. `--against` without a form leaves out PyTorch, which requirements.txt does
not have (`pip install torch`). Preparation is compilation in JAX, and the first step of each head in PyTorch.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import comparison, timing
from configs import common


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of an IIC training step with two heads; clusters, auxiliary and displacement as on COCO-Stuff-3."""

    batch: int = 4
    side: int = 128
    channels: int = 3
    width: int = 64
    clusters: int = 3
    auxiliary: int = 15
    displacement: int = 10
    dtype: str = 'float32'

    def to_config(self) -> dict[str, Any]:
        """What `build.method` makes the method of the step from."""
        model = {**common.vgg(), 'channels': self.width, 'geometry': 'paper', 'dtype': self.dtype}
        sizes = {'num_clusters': self.clusters, 'auxiliary_clusters': self.auxiliary, 'displacement': self.displacement}
        plain = {'entropy_weight': 1.0, 'auxiliary_entropy_weight': 1.0, 'sobel': False}
        return {'model': model, 'method': {**common.iic(), **sizes, **plain}}

    @property
    def name(self) -> str:
        sizes = f'{self.batch}x{self.side}x{self.side}_width_{self.width}_{self.clusters}_and_{self.auxiliary}_clusters'
        return f'{sizes}_displacement_{self.displacement}_{self.dtype}'


def contestants(workload: Workload, forms: Sequence[str]) -> list[timing.Contestant]:
    """JAX first, then the forms of PyTorch, in float32 and from the same weights."""
    from benchmarks.package_step import RATE, beside_pytorch

    # In the order in which IIC trains them.
    heads = {'auxiliary_decoder_0': workload.auxiliary, 'decoder_0': workload.clusters}

    def made(form, variables, image):
        import torch

        from benchmarks import pytorch_iic, pytorch_reference, pytorch_step

        flipped = torch.arange(workload.batch, device=image.device) % 2 == 0
        changed = torch.where(flipped[:, None, None, None], image.flip(3), image)
        network = pytorch_iic.Network(workload.channels, workload.width, heads).to(image.device)
        pytorch_reference.load(network, variables['params'], variables['batch_stats'])
        turns = [(image, changed, flipped, head, workload.displacement) for head in heads]
        return pytorch_step.contestant(form, pytorch_iic.loss, network, turns, RATE, zeros=True)

    return beside_pytorch(workload, forms, made)


def main():
    comparison.main('iic_step', __doc__, Workload, contestants)


if __name__ == '__main__':
    sys.exit(main())
