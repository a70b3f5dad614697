"""The training step that benchmarks measure: its sizes, and the arithmetic that it cannot do without."""

import argparse
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from configs import common


def image_shape(config: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Of a batch of the config, of photographs unless its data are Potsdam's."""
    crop = config['pipeline']['crop_size']
    height, width = crop if isinstance(crop, tuple | list) else (crop, crop)
    return config['pipeline']['batch_size'], height, width, 4 if config['data']['name'] == 'potsdam' else 3


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
    remat: bool = False
    orderings: str = 'A1,A2,B4,B1,C3,C2,D3,D4'

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser):
        for field in dataclasses.fields(cls):
            kind = {'action': argparse.BooleanOptionalAction} if field.type is bool else {'type': field.type}
            parser.add_argument(f'--{field.name}', default=field.default, help='default: %(default)s', **kind)

    @classmethod
    def from_flags(cls, arguments: argparse.Namespace) -> 'Workload':
        return cls(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(cls)})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> 'Workload':
        """That of a config whose orderings are the raster scans, such as the paper's."""
        model, (batch, side, _, channels) = config['model'], image_shape(config)
        return cls(
            batch=batch,
            side=side,
            channels=channels,
            blocks=model['blocks'],
            stride=model['output_stride'],
            attention=model['attention'],
            clusters=config['method']['num_clusters'],
            displacement=config['method']['displacement'],
            dtype=model['dtype'],
            remat=model['remat'],
        )

    def to_config(self) -> dict[str, Any]:
        """What `build.method` makes the method of the step from."""
        model = {
            **common.autoregressive(),
            'blocks': self.blocks,
            'output_stride': self.stride,
            'attention': self.attention,
            'dtype': self.dtype,
            'remat': self.remat,
        }
        sizes = {'num_clusters': self.clusters, 'displacement': self.displacement, 'orderings': self.orderings}
        return {'model': model, 'method': {**common.ac(), **sizes}}

    @property
    def name(self) -> str:
        options = ''.join(f'_{option}' for option in ('attention', 'remat') if getattr(self, option))
        return f'{self.blocks}_blocks_{self.batch}x{self.side}x{self.side}_stride_{self.stride}{options}_{self.dtype}'

    @property
    def flop(self) -> float:
        """Floating-point operations of convolutions and matrix products, an addition and a multiplication counted as two.

        Nothing is counted that a step could leave out: the masked tap, scores of later positions, a second pass of the stem,
        the gradient by the image, anything computed again in the backward pass. Of the rest of a step (normalisation, pooling,
        interpolation, softmax, loss, Adam) nothing is counted either.
        """
        return self._flop(taps=8)

    @property
    def flop_by_winograd(self) -> float:
        """The same where four products stand for the eight taps of a masked kernel, as on CPU (`ar_seg_jax.winograd`); the sums
        before and after them are not counted."""
        return self._flop(taps=4)

    def _flop(self, taps: int) -> float:
        positions = self.batch * (-(-self.side // self.stride)) ** 2
        stem = self.batch * (-(-self.side // (self.stride // 2))) ** 2 * 9 * self.channels * 64
        widths = [64 << index for index in range(self.blocks + 1)]
        view = sum((taps * before + 5 * after) * after for before, after in itertools.pairwise(widths))
        view += widths[-1] * self.clusters
        if self.attention:
            pairs = positions // self.batch + 1  # seen on average, times two: one product for scores and one for values
            view += 4 * 256 * 128 + 512 * 256 + pairs * 128
        return 2 * (2 * stem + 3 * 2 * positions * view)
