"""Draws the geometry of the sixteen orderings, as the layers themselves have it.

    python -m ar_seg_jax.figures --output docs/figures [--size 16] [--layers 8]

growth.png            the receptive field of the centre after each of several masked convolutions (supplement, Figure 2)
receptive_fields.png  the receptive fields in the end, under every ordering (supplement, Figure 3)
attention.png         what masked attention reads, and how it fills the blind spot of the convolutions
orderings.png         the orderings themselves

Receptive fields are where gradients of the real layers are not zero. Files of these names are replaced.
"""

from pathlib import Path

from absl import flags

from ar_seg_jax import cli

_OUTPUT = flags.DEFINE_string('output', None, 'Directory for the pictures.', required=True)
_SIZE = flags.DEFINE_integer('size', 16, 'Height and width of the map in pixels.', lower_bound=3, upper_bound=64)
_LAYERS = flags.DEFINE_integer('layers', 8, 'Number of masked convolutions.', lower_bound=1, upper_bound=16)


def main():
    from ar_seg_jax import files
    from ar_seg_jax.drawing import gallery, plots

    size, layers = _SIZE.value, _LAYERS.value
    figures = {
        'growth': gallery.growth(size, layers),
        'receptive_fields': gallery.receptive_fields(size, layers),
        'attention': gallery.attention(size, layers),
        'orderings': gallery.scans(),
    }
    for name, figure in figures.items():
        path = Path(_OUTPUT.value) / f'{name}.png'
        files.write(path, plots.png(figure))
        print(path)


if __name__ == '__main__':
    cli.run(main)
