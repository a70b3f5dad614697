"""Runs of every method, each within seconds, and the folders of images that they are trained on."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import kills

HEARTBEAT = 10  # seconds
SAVE = 5.0  # seconds that training waits for a save
STEPS, SAVED_EVERY, EVALUATED_EVERY = 120, 10, 30
_SIDE = 40  # pixels of an image
_IMAGES = {'train': 16, 'val': 4}
_SEARCH = {'method.width': 8, 'method.initial_batches': 2, 'method.iterations': 3, 'method.vectors_of_image': 20}
# A transformer of one block, drawn at random: there are no published weights of it.
_FROZEN = {
    'initial_weights.layout': 'own',
    'method.width': 4,
    'model.patch': 8,
    'model.width': 8,
    'model.depth': 1,
    'model.attention_heads': 2,
    'model.grid': 4,
}
_PATCHES = {'method.patch': 3, 'method.comparator_width': 8}
# The config of each method, and what makes its network and its computation smaller. MDC and PiCIE+H are methods of their papers.
METHODS = {
    'ac': ('folder_small', {'method.displacement': 2}),
    'arl': ('arl_folder_small', {'method.width': 8, 'method.negatives': 9}),
    'iic': ('iic_folder_small', {'method.displacement': 2, 'method.auxiliary_clusters': 4, 'method.alternate': True}),
    'deep_cluster': ('deep_cluster_folder_small', _SEARCH),
    'mdc': ('mdc_folder_small', _SEARCH),
    'picie': ('picie_folder_small', _SEARCH),
    'picie_h': ('picie_h_folder_small', {**_SEARCH, 'method.auxiliary_clusters': 5}),
    'doersch': ('doersch_folder_small', _PATCHES),
    'isola': ('isola_folder_small', _PATCHES),
    'smooseg': ('smooseg_folder', _FROZEN),
    'stego': ('stego_folder', {**_FROZEN, 'method.points': 5}),
    'mixture': ('mixture_folder_small', {'method.initial_batches': 1, 'method.iterations': 3}),
    'ast': (
        'ast_instances_small',
        {
            'data.size': 32,
            'method.num_clusters': 4,
            'method.image_size': 32,
            'method.width': 4,
            'method.glimpse_size': 8,
            'method.transformer_width': 8,
            'method.transformer_heads': 2,
            'method.transformer_feedforward': 16,
            'method.background_steps': 30,
            'method.frozen_steps': 30,
            'model.widths': '(4, 6)',
            'evaluators.instances.baselines': False,
        },
    ),
    'supervised': ('supervised_folder_small', {'evaluation.pictures': 1}),
}
_WITHOUT_BLOCKS = ('ast', 'mixture', 'smooseg', 'stego')  # whose models have no such option
_OF_FOLDERS = {
    'data.rescale': 1.0,
    'data.block_size': 0,
    'evaluators.segmentation.baselines': False,
    'evaluators.probes.names': '()',
}
_OF_ALL = {
    'pipeline.crop_size': 32,
    'pipeline.batch_size': 4,
    'evaluation.batch_size': 4,
    'log_every': 2,
    'evaluate_every': EVALUATED_EVERY,
    'checkpoint_every': SAVED_EVERY,
    'save_seconds': SAVE,
}


def command(method: str, count: int, steps: int, *, run: Path, images: Path, data: Path, programs: Path) -> list[str]:
    """The command of a run of `count` processes in the directory `run`."""
    config, own = METHODS[method]
    keys = _OF_ALL | {
        'steps': steps,
        'evaluation.pictures': 0,
        'data.root': images,
        'data.data_dir': data,
        'compilation_cache': programs,
    }
    if method != 'ast':
        keys |= _OF_FOLDERS
    if method not in _WITHOUT_BLOCKS:
        keys |= {'model.blocks': 1}
    flags = [f'--config.{key}={value}' for key, value in {**keys, **own}.items()]
    processes = [f'--processes={count}', f'--heartbeat_seconds={HEARTBEAT}']
    return [sys.executable, '-m', 'ar_seg_jax.main', f'--config={config}', *flags, f'--workdir={run}', *processes]


ROOT, ENVIRONMENT = kills.ROOT, kills.ENVIRONMENT


def draw_images(folder: Path):
    """Three textures side by side in each image, with their maps as labels, and as masks of two objects."""
    rng = np.random.default_rng(0)
    names = [f'{split}_{index:02d}' for split, count in _IMAGES.items() for index in range(count)]
    for part in ('images', 'labels', 'masks'):
        (folder / part).mkdir(parents=True)
    for name in names:
        first, second = np.sort(rng.integers(8, _SIDE - 8, 2))
        columns = np.arange(_SIDE)
        label = np.tile((columns >= first).astype(np.uint8) + (columns >= second), (_SIDE, 1)).astype(np.uint8)
        fine, coarse = (
            rng.normal(size=(_SIDE, _SIDE, 3)),
            np.kron(rng.normal(size=(_SIDE // 4, _SIDE // 4, 3)), np.ones((4, 4, 1))),
        )
        texture = np.stack([20 * fine - 50, 30 * coarse, 10 * fine + 20 * coarse + 60])
        image = 127 + np.take_along_axis(texture, label[None, ..., None], axis=0)[0]
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / 'images' / f'{name}.png')
        Image.fromarray(label).save(folder / 'labels' / f'{name}.png')
        Image.fromarray(label).save(folder / 'masks' / f'{name}.png')
    rows = [f'{name},{name.partition("_")[0]}' for name in names]
    (folder / 'splits.csv').write_text('\n'.join(['id,split', *rows]) + '\n')
