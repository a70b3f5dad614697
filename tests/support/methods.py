"""All methods, small enough for a test: those of the program, the example of docs/contributing.md, and one without clusters."""

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from ar_seg_jax import build
from ar_seg_jax.interfaces import Method
from tests.support import examples, scenes, tiny, turned
from tests.support.commands import ROOT

NAMES = tuple(dict.fromkeys([*build.METHODS, 'mirror', 'turned']))

# Colours of bright images would be cut off where they are jittered.
_CALM = {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'hue': 0.0}

# Colours stay: their changes do not commute with those of the tests, and hues are compiled wrongly for eight devices by the
# emitters that tests/support/compilation.py asks for.
_SMALL_SEARCH = {'width': 5, 'shrink': 1, 'colours': 'none', 'iterations': 3, 'vectors_of_image': 9}
# Options of methods and models in place of those of their config, for tiny maps; some add something to the state or the step.
SMALL = {
    'ac': {'num_clusters': 3, 'displacement': 2, 'auxiliary_clusters': 4},
    'arl': {'num_clusters': 3, 'width': 5, 'negatives': 5},
    'iic': {'num_clusters': 3, 'displacement': 2, 'auxiliary_clusters': 4, 'sub_heads': 2, **_CALM},
    'doersch': {'num_clusters': 3, 'patch': 3, 'comparator_width': 8, 'sobel': True, **_CALM},
    'supervised': {'num_clusters': 3, **_CALM},
    'isola': {'num_clusters': 3, 'patch': 3, 'comparator_width': 8, 'comparator': 'full', **_CALM},
    'deep_cluster': {**_SMALL_SEARCH, 'num_clusters': 3, 'training_clusters': 4},
    'picie': {**_SMALL_SEARCH, 'num_clusters': 3, 'auxiliary_clusters': 4},
    'mixture': {'num_clusters': 3, 'layout': 4, 'smoothing': 1, 'initial_batches': 1, 'iterations': 3, 'vectors_of_image': 50},
    'smooseg': {'num_clusters': 3, 'width': 5},
    'stego': {'num_clusters': 3, 'width': 5, 'points': 7, 'other_images': 2},
    'ast': scenes.SMALL,
    'autoregressive': {'blocks': 1},
    'compact_unet': {'widths': (4, 6)},
    'vgg': {'channels': 2},
    'vit': {'patch': 4, 'width': 8, 'depth': 1, 'attention_heads': 2, 'grid': 3, 'normalise': 'none'},
}


def config(name: str) -> dict[str, Any]:
    """Options of a method and of its model: those of the first config that names it, made small."""
    for found in _configs():
        if found['method']['name'] == name:
            return {part: {**found[part], **SMALL.get(found[part]['name'], {})} for part in ('method', 'model')}
    raise LookupError(f'no config in configs/ has the method {name!r}')


def made(name: str, deviation: tuple[float, ...] = (), side: int = 0, **model: Any) -> Method:
    """The method, built anew from its config.

    deviation: that of the input of its model, instead of its own. side: of images, for a method that is made for one size,
    instead of the config's. model: options of it, instead of the config's.
    """
    options, page = config(name), examples.modules()
    options['model'] |= model
    if side and 'image_size' in options['method']:
        options['method']['image_size'] = side
    known = {**build.MODELS, 'plain': page['ar_seg_jax/models/plain.py'].Plain}
    if deviation:
        kind = options['model']['name']
        known[kind] = tiny.normalising((0.0,) * len(deviation), deviation, known[kind])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, 'MODELS', known)
        patch.setitem(build.METHODS, 'mirror', page['ar_seg_jax/methods/mirror.py'].build)
        patch.setitem(build.METHODS, 'turned', turned.build)
        return build.method(options)


@functools.cache
def _configs() -> list[Mapping[str, Any]]:
    """Of the program, the one with all defaults first, then those of collages and others whose networks are small; and those of
    the methods that are not of it."""
    names = sorted(path.stem for path in (ROOT / 'configs').glob('[!_]*.py'))
    names.sort(key=lambda name: (name != 'common', not name.endswith('textures'), not name.endswith('small')))
    modules = [*(importlib.import_module(f'configs.{name}') for name in names), examples.modules()['configs/mirror.py']]
    own = {'method': {'name': 'turned'}, 'model': {'name': 'plain', 'channels': 8}}
    return [*(module.get_config().to_dict() for module in modules), own]
