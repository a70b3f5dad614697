"""Runs in the order in which their criteria put them, and how that compares with scores where there are labels."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ar_seg_jax.choosing.criteria import NAMES, TITLES, Criteria

TOGETHER = 'mean rank'


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run. score: its mIoU, 0 to 1, which has no part in the choice; None without labels."""

    name: str
    criteria: Criteria
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Candidates, best first, with the mean over criteria of their place among all; 1 is the first place."""

    candidates: Sequence[Candidate]
    places: Sequence[float]

    def correlations(self) -> dict[str, tuple[float | None, float]]:
        """Of each criterion, and of all together: the rank correlation (Spearman) with the scores, and the score of what it would
        choose; a constant has no correlation. Empty unless three candidates have scores."""
        scored = [number for number, one in enumerate(self.candidates) if one.score is not None]
        if len(scored) < 3:
            return {}
        scores = np.array([self.candidates[number].score for number in scored])
        columns = {name: self._column(name)[scored] for name in NAMES} | {TOGETHER: -np.array(self.places)[scored]}
        return {
            name: (_correlation(values, scores), float(scores[np.argmax(values)]))
            for name, values in columns.items()
            if not np.isnan(values).any()
        }

    def _column(self, name: str) -> np.ndarray:
        return np.array([_number(getattr(one.criteria, name)) for one in self.candidates])

    def content(self) -> dict[str, Any]:
        """As it is saved in JSON."""
        rows = [
            {'run': one.name, 'mean_rank': place, 'criteria': dataclasses.asdict(one.criteria), 'mean_iou': one.score}
            for one, place in zip(self.candidates, self.places, strict=True)
        ]
        found = {name: {'rank_correlation': value, 'chosen': score} for name, (value, score) in self.correlations().items()}
        return {'runs': rows, 'criteria': found}

    def words(self, name: str) -> dict[str, str]:
        """What is said of a candidate, by what it is about."""
        place = [one.name for one in self.candidates].index(name)
        values = {TITLES[key]: _shown(_number(getattr(self.candidates[place].criteria, key))) for key in NAMES}
        return {f'{TOGETHER} without labels': f'{self.places[place]:.1f} of {len(self.places)}', **values}

    def markdown(self) -> str:
        """For people."""
        labelled = any(one.score is not None for one in self.candidates)
        lines = [_row('run', TOGETHER, *NAMES, *(['mIoU'] if labelled else [])), '| --- ' * (2 + len(NAMES) + labelled) + '|']
        for one, place in zip(self.candidates, self.places, strict=True):
            values = [_number(getattr(one.criteria, name)) for name in NAMES]
            scores = [_shown(_number(one.score))] if labelled else []
            lines.append(_row(one.name, f'{place:.1f}', *map(_shown, values), *scores))
        if found := self.correlations():
            scores = [one.score for one in self.candidates if one.score is not None]
            lines += ['', _row('criterion', 'rank correlation with mIoU', 'mIoU of its choice'), '| --- | --- | --- |']
            lines += [_row(name, _shown(_number(value)), f'{score:.3f}') for name, (value, score) in found.items()]
            lines += ['', f'mIoU of the best run: {max(scores):.3f}, of the median one: {np.median(scores):.3f}.']
        return '\n'.join(lines)


def ranked(candidates: Sequence[Candidate]) -> Ranking:
    """By the mean of their places under each criterion; equal values share a place. Criteria that some lack are left out."""
    values = np.array([[_number(getattr(one.criteria, name)) for name in NAMES] for one in candidates])
    known = ~np.isnan(values).any(0)
    places = stats.rankdata(-values[:, known], axis=0).mean(1)
    order = np.argsort(places, kind='stable')
    return Ranking([candidates[number] for number in order], places[order].tolist())


def with_seeds(criteria: Mapping[str, Criteria], agreements: Mapping[tuple[str, str], float]) -> dict[str, Criteria]:
    """Criteria of runs by name, with the mean of the agreements of the pairs that each is in."""
    found = {}
    for name, one in criteria.items():
        own = [value for pair, value in agreements.items() if name in pair]
        found[name] = dataclasses.replace(one, seeds=float(np.mean(own)) if own else None)
    return found


def _correlation(values: np.ndarray, scores: np.ndarray) -> float | None:
    constant = len(set(values.tolist())) < 2 or len(set(scores.tolist())) < 2
    return None if constant else float(stats.spearmanr(values, scores).statistic)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _shown(value: float) -> str:
    return '-' if math.isnan(value) else f'{value:.3f}'


def _row(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'
