"""The training step that benchmarks measure: its sizes, and the arithmetic that it cannot do without."""

import argparse
import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of an AC training step of variant F2 with two views."""

    batch: int = 4
    side: int = 128
    channels: int = 3
    blocks: int = 4
    stride: int = 4
    attention: bool = False
    clusters: int = 3
    displacement: int = 10
    dtype: str = 'float32'

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser):
        for field in dataclasses.fields(cls):
            kind = {'action': argparse.BooleanOptionalAction} if field.type is bool else {'type': field.type}
            parser.add_argument(f'--{field.name}', default=field.default, help='default: %(default)s', **kind)

    @classmethod
    def from_flags(cls, arguments: argparse.Namespace) -> 'Workload':
        return cls(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(cls)})

    @property
    def name(self) -> str:
        attention = '_attention' if self.attention else ''
        return f'{self.blocks}_blocks_{self.batch}x{self.side}x{self.side}_stride_{self.stride}{attention}_{self.dtype}'

    @property
    def flop(self) -> float:
        """Floating-point operations of convolutions and matrix products, an addition and a multiplication counted as two.

        Nothing is counted that a step could leave out: the masked tap, scores of later positions, a second pass of the stem,
        the gradient by the image, anything computed again in the backward pass. Of the rest of a step (normalisation, pooling,
        interpolation, softmax, loss, Adam) nothing is counted either.
        """
        positions = self.batch * (-(-self.side // self.stride)) ** 2
        stem = self.batch * (-(-self.side // (self.stride // 2))) ** 2 * 9 * self.channels * 64
        widths = [64 << index for index in range(self.blocks + 1)]
        view = sum((8 * before + 5 * after) * after for before, after in itertools.pairwise(widths))
        view += widths[-1] * self.clusters
        if self.attention:
            pairs = positions // self.batch + 1  # seen on average, times two: one product for scores and one for values
            view += 4 * 256 * 128 + 512 * 256 + pairs * 128
        return 2 * (2 * stem + 3 * 2 * positions * view)
