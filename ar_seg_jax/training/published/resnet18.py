"""The layout of torchvision's ResNet-18, for `models.resnet`.

102 arrays, of which the classifier (fc.*) has no place here; newer files also count the batches of each batch norm.
"""

from ar_seg_jax.training.published.layout import Layout

_NORM = {
    'weight': ('params', 'scale'),
    'bias': ('params', 'bias'),
    'running_mean': ('batch_stats', 'mean'),
    'running_var': ('batch_stats', 'var'),
}


def _convolution(name: str, norm: str, here: str) -> dict[str, str]:
    """The places of a convolution and of the batch norm after it."""
    statistics = {f'{norm}/{part}': f'{collection}/{here}_norm/{own}' for part, (collection, own) in _NORM.items()}
    return {f'{name}/weight': f'params/{here}_conv/kernel', **statistics}


def _places() -> dict[str, str]:
    found = _convolution('conv1', 'bn1', 'stem')
    for stage in range(4):
        for block in range(2):
            name, here = f'layer{stage + 1}/{block}', f'stage{stage}_block{block}'
            for index in range(2):
                found |= _convolution(f'{name}/conv{index + 1}', f'{name}/bn{index + 1}', f'{here}_{index}')
        if stage:
            name, here = f'layer{stage + 1}/0/downsample', f'stage{stage}_block0'
            found |= _convolution(f'{name}/0', f'{name}/1', f'{here}_shortcut')
    return found


def _is_ignored(name: str) -> bool:
    return name in ('fc/weight', 'fc/bias') or name.endswith('/num_batches_tracked')


LAYOUT = Layout(_places().get, _is_ignored)
