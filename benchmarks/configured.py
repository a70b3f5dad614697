"""The training step of a config at other sizes."""

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks import programs
from benchmarks.workload import image_shape


@dataclasses.dataclass(frozen=True)
class Configured:
    """Sizes of the step of a config; what is not named here is as the config says.

    config: a Python file. side: of the images, pixels. clusters: of the main clustering, and of AST its slots and the background.
    """

    config: str
    batch: int
    side: int
    clusters: int
    dtype: str = 'float32'

    @classmethod
    def of(cls, path: str, **sizes: Any) -> 'Configured':
        """With these sizes, or with the config's own."""
        config = programs.load(Path(path))
        batch, side, *_ = image_shape(config)
        own = {'batch': batch, 'side': side, 'clusters': config['method']['num_clusters']}
        return cls(path, **own | {name: size for name, size in sizes.items() if size is not None})

    def to_config(self) -> dict[str, Any]:
        """What `build.method` makes the method of the step from."""
        config = programs.load(Path(self.config))
        size = {'image_size': self.side} if 'image_size' in config['method'] else {}
        precision = {'dtype': self.dtype} if 'dtype' in config['model'] else {}
        return {
            'model': config['model'] | precision,
            'method': config['method'] | size | {'num_clusters': self.clusters},
        }

    @property
    def channels(self) -> int:
        return image_shape(programs.load(Path(self.config)))[-1]
