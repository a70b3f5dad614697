"""AST small enough for a test, with all of its parts."""

from typing import Any

from ar_seg_jax import build
from ar_seg_jax.methods.ast import AST
from configs import common

SIZE = 16  # pixels
MODEL = common.compact_unet() | {'widths': (4, 6)}
# Options in place of those of a config, for images of 16 pixels.
SMALL = {
    'num_clusters': 4,
    'image_size': SIZE,
    'background': 'image',
    'width': 3,
    'glimpse_size': 8,
    'transformer_depth': 2,
    'transformer_width': 8,
    'transformer_heads': 2,
    'transformer_feedforward': 16,
    'entropy_steps': 3,
    'background_steps': 2,
    'frozen_steps': 2,
}


def method(**options: Any) -> AST:
    """With changed options."""
    return build.method({'method': common.ast() | SMALL | options, 'model': MODEL})
