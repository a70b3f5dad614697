"""Draws the geometry of the sixteen orderings, as the layers themselves have it; or how a run finds the objects of an image.

    python -m ar_seg_jax.figures --output docs/figures [--size 16] [--layers 8]
    python -m ar_seg_jax.figures --output DIR --workdir runs/objects --image FILE [--step N]

growth.png            the receptive field of the centre after each of several masked convolutions (supplement, Figure 2)
receptive_fields.png  the receptive fields in the end, under every ordering (supplement, Figure 3)
attention.png         what masked attention reads, and how it fills the blind spot of the convolutions
orderings.png         the orderings themselves

slots.png             the attention of each slot of AST, the path from there to its glimpse, and what it paints in the end

Receptive fields are where gradients of the real layers are not zero. Files of these names are replaced.
"""

from pathlib import Path

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_OUTPUT = flags.DEFINE_string('output', None, 'Directory for the pictures.', required=True)
_SIZE = flags.DEFINE_integer('size', 16, 'Height and width of the map in pixels.', lower_bound=3, upper_bound=64)
_LAYERS = flags.DEFINE_integer('layers', 8, 'Number of masked convolutions.', lower_bound=1, upper_bound=16)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of a run that finds objects.')
_IMAGE = flags.DEFINE_string('image', None, 'An image in which that run finds objects.')
_STEP = flags.DEFINE_integer('step', None, 'Step of its checkpoint; the last one if not given.')


def main():
    from ar_seg_jax import files
    from ar_seg_jax.drawing import plots

    if bool(_WORKDIR.value) != bool(_IMAGE.value):
        raise UserError('--workdir and --image belong together: the slots of that run are drawn for that image')
    for name, figure in (_of_run() if _WORKDIR.value else _of_orderings()).items():
        path = Path(_OUTPUT.value) / f'{name}.png'
        files.write(path, plots.png(figure))
        print(path)


def _of_orderings() -> dict:
    from ar_seg_jax.drawing import gallery

    size, layers = _SIZE.value, _LAYERS.value
    return {
        'growth': gallery.growth(size, layers),
        'receptive_fields': gallery.receptive_fields(size, layers),
        'attention': gallery.attention(size, layers),
        'orderings': gallery.scans(),
    }


def _of_run() -> dict:
    from ar_seg_jax.data import images
    from ar_seg_jax.drawing import slots
    from ar_seg_jax.prediction import network

    trained, path = network.load(Path(_WORKDIR.value), _STEP.value), Path(_IMAGE.value)
    found = trained.objects(trained.form.read(path))
    views = {'image': found.image, 'background': found.background, 'reconstruction': found.reconstruction}
    labels = images.resize(found.labels, *found.image.shape[:2], label=True)
    title = f'{trained.method.title}, step {int(trained.state.step)}: {path.name}'
    return {'slots': slots.figure(views, labels, found.attention, found.places, found.glimpses, trained.classes, title)}


if __name__ == '__main__':
    cli.run(main)
