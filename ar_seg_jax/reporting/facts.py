"""What was trained on what, and how long, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ar_seg_jax import build
from ar_seg_jax.interfaces import sides
from ar_seg_jax.runs import workdir
from ar_seg_jax.training import records


def of_run(
    config: Mapping[str, Any],
    directory: Path,
    step: int,
    sizes: Mapping[str, int],
    logged: Sequence[Mapping[str, Any]],
    device: str,
) -> dict[str, str]:
    """By what they are about, those that are known.

    sizes: examples by split. logged: the records of the run. device: of its evaluation, or ''.
    """
    method, batch_size = build.method(config), config['pipeline']['batch_size']
    dataset, variant = workdir.used_data(directory)
    height, width = sides(config['pipeline']['crop_size'])
    seconds = records.seconds(logged, batch_size)
    found = {
        'Method': method.title,
        'Network': ' '.join(str(config['model'][key]) for key in ('name', 'variant') if key in config['model']),
        'Clusters': str(method.num_clusters or ''),
        'Loss': method.loss_in_words,
        'Data': f'{dataset} ({variant})' if variant else dataset,
        'Trained on': _split(config['data']['train_split'], sizes),
        'Evaluated on': _split(config['evaluation']['split'], sizes),
        'Steps': f'{step:,}, each of {batch_size} crops of {height} x {width} pixels',
        'Training time': f'{duration(seconds)}, without evaluations and saves' if seconds else '',
        'Peak memory': _peak(logged),
        'Seed': str(config['seed']),
        'Devices': device,
    }
    return {name: value for name, value in found.items() if value}


def _split(name: str, sizes: Mapping[str, int]) -> str:
    return f'{name} ({sizes[name]:,} images)' if name in sizes else name


def _peak(logged: Sequence[Mapping[str, Any]]) -> str:
    peaks = [record['peak_bytes'] for record in logged if record.get('peak_bytes')]
    return f'{max(peaks) / 2**30:.2f} GiB' if peaks else ''


def duration(seconds: float) -> str:
    """Such as '1 h 5 min' or '12 s'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'
