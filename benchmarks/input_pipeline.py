"""Images per second of the input pipeline alone, what an image costs, and what training waits for it.

    python -m benchmarks.input_pipeline --config configs/folder.py --config.data.root=DIR [--config.key=value ...]
                                        [--threads 1,2,4,8] [--workers 0,2] [--seconds 3] [--rounds 3] [--steps 20]

Takes the flags of ar_seg_jax.main, and prepares data as that does. Three tables:

- images/s of the training iterator with nobody else at work, for numbers of threads and worker processes. A new iterator is
  drawn from for a second and then counted for --seconds; every round has all settings once. Beside it the cores that the
  process of the iterator kept busy;
- microseconds of the parts of one image in one thread. Their sum is the work of a core for an image. What 16 cores would deliver,
  16 over that sum, is an expectation: threads share Python's lock, and processes the memory's bandwidth;
- a training of --steps steps: the share of its second half that it waited for data, and of how many fetches a step was still
  under way at their end, so that the devices did not wait.

Writes benchmarks/results/input_pipeline_<config>_<platform>.json.
"""

import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from benchmarks import report, timing
from benchmarks.timing import Contestant

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Python file with get_config(); --config.key=value sets a key.')
_THREADS = flags.DEFINE_list('threads', ['1', '2', '4', '8'], 'Numbers of threads that read.')
_WORKERS = flags.DEFINE_list('workers', ['0', '2'], 'Numbers of processes that read; 0 reads in threads of this one.')
_SECONDS = flags.DEFINE_float('seconds', 3, 'For each setting and round.')
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds.', lower_bound=2)
_STEPS = flags.DEFINE_integer('steps', 20, 'Of the training; 0 trains nothing.')
flags.mark_flag_as_required('config')

_CORES = 16  # of the machine that is extrapolated to
_SAMPLE = 200  # examples whose parts are timed


def rates(data) -> list[dict[str, Any]]:
    """Images per second of all settings."""
    from ar_seg_jax.data import pipeline

    settings = [(int(threads), int(workers)) for workers in _WORKERS.value for threads in _THREADS.value]
    counted = {setting: [] for setting in settings}
    examples = data.examples(data.train_split)
    for _ in range(_ROUNDS.value):
        for threads, workers in settings:
            options = {**data.options, 'read_threads': threads, 'workers': workers}
            batches = pipeline.training_iterator(examples, seed=data.seed, **options)
            delivered(batches, 1)
            counted[threads, workers].append(delivered(batches, _SECONDS.value))
            del batches  # ends its threads and processes
    return [
        {
            'threads': threads,
            'workers': workers,
            'images_per_second': timing.spread([images for images, _ in found]),
            'cores': float(np.median([cores for _, cores in found])),
        }
        for (threads, workers), found in counted.items()
    ]


def delivered(batches: Iterator, seconds: float) -> tuple[float, float]:
    """Images per second of an iterator, and cores that this process kept busy."""
    images, start, begin = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        label = next(batches)['label']
        images += int(np.prod(label.shape[:-2]))
    elapsed = time.perf_counter() - start
    return images / elapsed, (time.process_time() - begin) / elapsed


def parts(data) -> dict[str, dict[str, float]]:
    """Seconds of the parts of one image, and of its way to the device."""
    import jax

    from ar_seg_jax import sharding
    from ar_seg_jax.data import images, pipeline

    examples = data.examples(data.train_split)
    places = range(min(_SAMPLE, len(examples)))
    records = [examples[place] for place in places]
    decoded = [pipeline.decode(record) for record in records]
    crop, rng = pipeline.RandomCrop(data.options['crop_size']), np.random.default_rng(0)
    cropped = [crop.random_map(element, rng) for element in decoded]
    batch = _stacked(cropped)
    split = sharding.split_batch(data.mesh)
    works = {
        'read': lambda: [examples[place] for place in places],
        'decode the image': lambda: [images.decode_png(record['image'], 'image', ('RGB', 'RGBA')) for record in records],
        'decode the label map': lambda: [images.decode_png(record['label'], 'label', ('L',)) for record in records],
        'crop': lambda: [crop.random_map(element, rng) for element in decoded],
        'batch': lambda: _stacked(cropped),
        'copy to the device': lambda: jax.block_until_ready(sharding.place(batch, split)),
    }
    seconds = timing.interleave([Contestant(name, run) for name, run in works.items()], _ROUNDS.value)
    return {name: {key: value / len(places) for key, value in spread.items()} for name, spread in seconds.items()}


def _stacked(elements: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([element[name] for element in elements]) for name in elements[0]}


def travels(data) -> dict[str, dict[str, Any]]:
    """Type and bytes of one image of a training batch as it is copied to the device."""
    batch = next(data.training(0))
    return {name: {'dtype': str(array.dtype), 'bytes': array.nbytes // data.image_shape[0]} for name, array in batch.items()}


def training(config: dict[str, Any], directory: Path) -> dict[str, float]:
    """What a real training waits for: shares of its time, and of its fetches."""
    from ar_seg_jax.runs import run as runs
    from ar_seg_jax.training import records

    steps = _STEPS.value
    config = {**config, 'steps': steps, 'epochs': 0.0, 'log_every': steps // 2, 'evaluate_every': 0, 'checkpoint_every': 0}
    run = runs.open_run(config, directory, training=True)
    data, under_way = observed(run.task.data)
    reporter = dataclasses.replace(run.reporter, evaluators={}, count=0)
    runs.train(dataclasses.replace(run, task=dataclasses.replace(run.task, data=data), reporter=reporter))
    last = [record for record in records.read(directory / 'metrics.jsonl') if record['kind'] == 'training'][-1]
    found = {name: last[name] for name in ('images_per_second', 'data_wait_share')}
    # The first step, and those after a line of the log, follow a wait for the devices.
    return {**found, 'fetches_during_a_step': float(np.mean(under_way[2 : steps // 2]))}


def observed(data) -> tuple[Any, list[bool]]:
    """The data, and a list of whether a step was under way when each batch had been fetched."""
    import jax

    found = []

    class Observed(type(data)):
        def training(self, *place):
            for batch in super().training(*place):
                found.append(not all(array.is_ready() for array in jax.live_arrays()))
                yield batch

    return Observed(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)}), found


def show(measured: dict[str, Any]):
    rows = [
        (str(row['threads']), str(row['workers']), f'{row["images_per_second"]["median"]:.0f}',
         report.quartiles(row['images_per_second']), f'{row["cores"]:.2f}' if not row['workers'] else '-')
        for row in measured['rates']
    ]  # fmt: skip
    print(report.table(('threads', 'workers', 'images/s', 'quartiles', 'cores busy'), rows))
    cells = [(name, f'{1e6 * seconds["median"]:.1f}') for name, seconds in measured['parts'].items()]
    print(f'\n{report.table(("part", "microseconds of an image"), cells)}')
    print(f'\nExpected of {_CORES} cores: {measured["expected_of_16_cores"]:.0f} images/s')
    for name, entry in measured['travels'].items():
        print(f'{name}: {entry["bytes"]} bytes of {entry["dtype"]} an image')
    if found := measured.get('training'):
        print(
            f'Training: {found["images_per_second"]:.1f} images/s, waits for data {found["data_wait_share"]:.2%} of the time; a '
            f'step was under way at the end of {found["fetches_during_a_step"]:.0%} of the fetches'
        )


def main(_):
    logging.set_verbosity(logging.FATAL)
    from ar_seg_jax import sharding
    from ar_seg_jax.runs import assembly

    config = _CONFIG.value.to_dict()
    data = assembly.prepared(assembly.dataset(config, sharding.make_mesh()))
    found = parts(data)
    core = sum(seconds['median'] for name, seconds in found.items() if name != 'copy to the device')
    measured = {'travels': travels(data), 'parts': found, 'expected_of_16_cores': _CORES / core, 'rates': rates(data)}
    if _STEPS.value:
        with tempfile.TemporaryDirectory() as directory:
            measured['training'] = training(config, Path(directory) / 'run')
    show(measured)
    report.save('input_pipeline', measured, Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem)


if __name__ == '__main__':
    sys.exit(app.run(main))
