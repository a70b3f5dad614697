"""What is found out about the states of a run: printed, written to files, drawn."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from ar_seg_jax import files
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.evaluation.evaluator import Evaluator, Findings
from ar_seg_jax.interfaces import Guard, ModelState
from ar_seg_jax.runs import pictures, workdir
from ar_seg_jax.training import records, versions
from ar_seg_jax.training.delivery import delivered
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reporter:
    """The evaluators of a run, and where their findings go.

    split: the one that is pictured. count: of images in a picture; 0 draws none. part: of the names of files, besides the step.
    """

    outputs: Outputs
    evaluators: Mapping[str, Evaluator]
    data: Dataset
    split: str
    count: int
    part: str = ''

    @property
    def _directory(self) -> Path:
        return self.outputs.directory

    def follow(self, state: TrainState, guard: Guard) -> Evaluation:
        """What is worth knowing during training. `guard` goes around all batches that are read."""

        def batches(split: str):
            return guard(self.data.evaluation(split))

        step = int(state.step)
        found = {name: evaluator.follow(state.model, batches) for name, evaluator in self.evaluators.items()}
        for findings in found.values():
            for line in findings.lines:
                _logger.info('step %d  %s', step, line)
            for warning in findings.warnings:
                _logger.warning('step %d  %s', step, warning)
        scalars = {key: value for findings in found.values() for key, value in findings.scalars.items()}
        return Evaluation(scalars, self._sample(step, found))

    def report(self, state: ModelState):
        """All that can be said of a state; prints, and writes files."""
        step = int(state.step)

        def batches(split: str):
            return delivered(self.data.evaluation(split))

        found = {name: evaluator.report(state, batches) for name, evaluator in self.evaluators.items()}
        if jax.process_index():
            return
        self._save(step, found)  # all is written before the first line, at which the reader of a pipe may be gone
        drawn = self._draw(step, found)
        for findings in found.values():
            for line in findings.lines:
                print(line)
            for warning in findings.warnings:
                print(f'Warning: {warning}')
        if any(findings.content for findings in found.values()):
            path = workdir.evaluation(self._directory, step, self.part)
            print(f'\nNumbers, and the class of each cluster where there are labels: {path}')
        for path in drawn:
            print(f'Picture: {path}')

    def _save(self, step: int, found: Mapping[str, Findings]):
        contents = {name: findings.content for name, findings in found.items() if findings.content}
        if contents:
            device = f'{jax.device_count()} x {jax.devices()[0].device_kind}'
            content = {'step': step, 'device': device, 'versions': versions.installed(), **contents}
            self.outputs.write(workdir.evaluation(self._directory, step, self.part), files.as_json(content))

    def _sample(self, step: int, found: Mapping[str, Findings]) -> np.ndarray | None:
        """Writes some images of the split with what the first evaluator that draws sees in them; process 0 only."""
        columns = [column for findings in found.values() for column in findings.columns]
        if jax.process_index() or not self.count or not columns:
            return None
        caption = f'{self._directory.name}, step {step}'
        examples = pictures.spread(self.data.examples(self.split), self.count)
        panel = pictures.sample(examples, columns[0], self.data.classes, self.data.instances, caption)
        self.outputs.write(workdir.picture(self._directory, step, self.part), pictures.png(panel))
        return np.asarray(panel)

    def _draw(self, step: int, found: Mapping[str, Findings]) -> list[Path]:
        """Writes all pictures of a state and the curves of its run; where they are."""
        if not self.count:
            return []
        contents = {}
        if self._sample(step, found) is not None:
            columns = [column for findings in found.values() for column in findings.columns]
            caption = f'{self._directory.name}, step {step}'
            examples = pictures.spread(self.data.examples(self.split), pictures.RANKED)
            classes, instances = self.data.classes, self.data.instances
            if panel := pictures.panel(examples, self.split, columns, classes, instances, self.count, caption):
                contents[workdir.picture(self._directory, step, self.part, 'panel')] = pictures.png(panel)
        for findings in found.values():
            contents |= {
                workdir.picture(self._directory, step, self.part, kind): draw() for kind, draw in findings.pictures.items()
            }
        if curves := pictures.curves(records.read(workdir.metrics(self._directory)), self._directory.name):
            contents[workdir.curves(self._directory)] = curves
        for path, content in contents.items():
            self.outputs.write(path, content)
        own = workdir.picture(self._directory, step, self.part)
        return [*([own] if own.exists() else []), *contents]
