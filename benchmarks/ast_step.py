"""The AST training step in JAX and in PyTorch, measured side by side.

    python -m benchmarks.ast_step --batch 16 --side 64 --slots 6 --rounds 10

It is the step of the joint stage, in which background and foreground are trained together. Prints a table of medians and
quartiles, and writes benchmarks/results/ast_step_<sizes>_<platform>.json. `--against` without a form leaves out PyTorch, which
requirements.txt does not have (`pip install torch`). Preparation is compilation in JAX, and the first step in PyTorch. Peak
memory is that of the compiled program, with parameters and Adam's moments; that of PyTorch is not known.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from ar_seg_jax.errors import UserError
from ar_seg_jax.models.segformer import FORMS
from benchmarks import comparison, timing
from configs import ast_objects_small, common


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of an AST training step; what is not named here is as in configs/ast_objects_small.py.

    side: of the images, pixels. network: 'compact', or a variant of SegFormer, such as 'B0'. background: 'image', or 'simple' or
    'complex' for the autoencoders. dropout: in the transformer over slots; of SegFormer's features, and its drop path too.
    """

    channels: ClassVar[int] = 3

    batch: int = 16
    side: int = 64
    slots: int = 6
    network: str = 'compact'
    background: str = 'image'
    dropout: float = 0.0
    dtype: str = 'float32'

    def __post_init__(self):
        if self.network not in ('compact', *FORMS):
            raise UserError(f'--network is compact or one of {", ".join(FORMS)}, found {self.network}')

    def to_config(self) -> dict[str, Any]:
        """What `build.method` makes the method of the step from. The entropy counts fully from the first step on."""
        if self.network == 'compact':
            model = common.compact_unet()
        else:
            model = common.segformer() | {'variant': self.network, 'dropout': self.dropout, 'drop_path': self.dropout}
        method = ast_objects_small.get_config().method.to_dict() | {
            'num_clusters': self.slots + 1,
            'image_size': self.side,
            'glimpse_size': self.glimpse,
            'background': self.background,
            'dropout': self.dropout,
            'entropy_steps': 0,
        }
        return {'model': model | {'dtype': self.dtype}, 'method': method}

    @property
    def glimpse(self) -> int:
        """Pixels of a side of glimpses, by the supplement's table."""
        return 32 if self.side < 128 else 64 if self.side < 200 else 128

    @property
    def name(self) -> str:
        sizes = f'{self.batch}x{self.side}x{self.side}_{self.slots}_slots'
        return f'{sizes}_{self.network}_background_{self.background}_dropout_{self.dropout}_{self.dtype}'


def contestants(workload: Workload, forms: Sequence[str]) -> list[timing.Contestant]:
    """JAX first, then the forms of PyTorch, in float32 and from the same weights."""
    from benchmarks.package_step import RATE, beside_pytorch

    config = workload.to_config()

    def made(form, variables, image):
        from benchmarks import pytorch_ast, pytorch_step

        scene = pytorch_ast.Scene(**config).to(image.device)
        pytorch_ast.load(scene, variables['params'], variables['batch_stats'])
        turns = [(image, config['method']['entropy_weight'])]
        return pytorch_step.contestant(form, pytorch_ast.loss, scene, turns, RATE)

    return beside_pytorch(workload, forms, made)


def main():
    comparison.main('ast_step', __doc__, Workload, contestants)


if __name__ == '__main__':
    sys.exit(main())
