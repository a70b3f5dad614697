"""What a run has logged, read back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ar_seg_jax import files
from ar_seg_jax.errors import UserError


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, see `training.metrics.MetricWriter`; none where there is no file.

    A last line that a killed run left half written does not count. Raises UserError, which names the file and the line, for
    any other line that is no record; OSError if the file is a link, or no regular file.
    """
    if not path.exists():
        return []
    lines = files.read(path).splitlines(keepends=True)
    return [_parsed(f'{path}, line {number}', line) for number, line in enumerate(lines, 1) if line.endswith(b'\n')]


def _parsed(place: str, line: bytes) -> dict[str, Any]:
    record = files.parse_json(place, line, 'remove the line')
    if type(record.get('step')) is not int or not isinstance(record.get('kind'), str):
        raise UserError(f'{place}: expected an object with a "step" and a "kind"; remove the line')
    return record


def seconds(found: Sequence[Mapping[str, Any]], batch_size: int) -> float:
    """What the steps in the records took, with their compilation, and without evaluations and saves."""
    training = [record for record in found if record['kind'] == 'training' and record.get('images_per_second')]
    steps = np.array([record['step'] for record in training])
    rates = np.array([record['images_per_second'] for record in training])
    return float(np.sum(np.diff(steps, prepend=0) * batch_size / rates))
