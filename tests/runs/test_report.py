"""What is said of the findings of evaluators, whatever these are."""

import logging

from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.evaluation.evaluator import Findings
from ar_seg_jax.runs.report import Reporter
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.state import TrainState


class _Warning:
    def follow(self, state, batches):
        return Findings(lines=['all is well'], warnings=['cluster 1 is odd'])

    report = follow


def test_warnings_are_logged_in_training_and_printed_after_it(tmp_path, caplog, capsys):
    reporter = Reporter(Outputs(tmp_path), {'odd': _Warning()}, object.__new__(Dataset), 'val', count=0)  # whose data is not read
    state = TrainState(7, {}, {}, (), None, 0, 0)
    with caplog.at_level(logging.INFO, logger='ar_seg_jax'):
        reporter.follow(state, iter)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ('INFO', 'step 7  all is well'),
        ('WARNING', 'step 7  cluster 1 is odd'),
    ]
    reporter.report(state.model)
    assert capsys.readouterr().out == 'all is well\nWarning: cluster 1 is odd\n'
    assert not list(tmp_path.iterdir())
