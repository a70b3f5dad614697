"""What the evaluation of a step saved, read back for people."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ar_seg_jax import files
from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import confusions
from ar_seg_jax.drawing.confusions import Shares
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.shapes import Shape, Shapes
from ar_seg_jax.reporting.account import Scores
from ar_seg_jax.runs import workdir

_TITLES = {'segmentation': 'Clusters against classes', 'probes': 'Probes of the frozen network', 'instances': 'Objects'}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """device: on which it was made. shapes: None where they were not measured. confusion: of the run itself under the first
    protocol, or None."""

    device: str
    scores: Sequence[Scores]
    shapes: Shapes | None
    confusion: Shares | None
    protocol: str


def read(directory: Path, step: int) -> Evaluation | None:
    """That of a step of a run; None without one. UserError for a file that is something else."""
    path = workdir.evaluation(directory, step)
    named = workdir.load_cluster_classes(directory, step)
    if not path.exists():
        return None
    content = files.read_json(path)
    try:
        own = content.get('segmentation', {}).get('results', [])
        return Evaluation(
            str(content.get('device', '')),
            [table for name in _TITLES for table in _tables(name, content.get(name, {}).get('results', []))],
            _shapes(content.get('segmentation', {}).get('shapes')),
            _confusion(own[0]['confusion'], *named) if own and named else None,
            str(own[0]['in_words']) if own else '',
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}: not what an evaluation leaves ({error!r}); evaluate the step again') from error


def _tables(evaluator: str, results: Sequence[Mapping[str, Any]]) -> list[Scores]:
    """One for each protocol."""
    protocols = dict.fromkeys(entry.get('protocol', '') for entry in results)
    found = []
    for protocol in protocols:
        own = [entry for entry in results if entry.get('protocol', '') == protocol]
        rows = [(str(entry['name']), _numbers(entry['scores'])) for entry in own]
        title = ', '.join(filter(None, [_TITLES[evaluator], protocol]))
        found.append(Scores(title, rows, [str(entry['in_words']) for entry in own]))
    return found


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float('nan') if value is None else float(value) for name, value in scores.items()}


def _shapes(content: Mapping[str, Any] | None) -> Shapes | None:
    if content is None:
        return None
    return Shapes(str(content['split']), [Shape(**shape) for shape in content['clusters']])


def _confusion(counts: Sequence[Sequence[int]], mapping: Sequence[int], classes: Sequence[Class]) -> Shares:
    found = np.array(counts, np.int64)
    if found.shape != (len(mapping), len(classes)):
        raise ValueError(f'a confusion matrix of {found.shape} for {len(mapping)} clusters and {len(classes)} classes')
    return confusions.shares(found, np.array(mapping), classes)
