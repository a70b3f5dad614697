"""Whether two runs ended alike: every bit of a checkpoint, and every record up to times and rates."""

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

_TIMES = ('images_per_second', 'data_wait_share', 'seconds_left', 'peak_bytes')


def records(directory: Path) -> list[dict[str, Any]]:
    """Those of a run, without times and rates."""
    lines = (directory / 'metrics.jsonl').read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in _TIMES} for line in lines]


def differing_records(one: Path, other: Path, but: Container[tuple[int, str]] = ()) -> int:
    """How many records two runs do not have alike, at the same places; those of the step and kind in `but` do not count."""
    first, second = (
        [record for record in records(directory) if (record['step'], record['kind']) not in but] for directory in (one, other)
    )
    return sum(a != b for a, b in zip(first, second, strict=False)) + abs(len(first) - len(second))


def differing_arrays(one: Path, other: Path, step: int) -> int:
    """How many arrays of the checkpoints of a step are not the same to the last bit."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    def content(leaf) -> bytes:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()

    states = []
    for directory in (one, other):
        manager = ocp.CheckpointManager(directory / 'checkpoints')
        items = {name: ocp.args.StandardRestore() for name in ('model', 'training')}
        restored = manager.restore(step, args=ocp.args.Composite(**items))
        states.append([restored[name] for name in items])
    return sum(content(a) != content(b) for a, b in zip(*map(jax.tree.leaves, states), strict=True))
