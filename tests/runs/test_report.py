"""What is said of the findings of evaluators, whatever these are."""

import io
import json
import logging
import sys

import pytest

from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.evaluation.evaluator import Findings
from ar_seg_jax.runs.report import Reporter
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.state import TrainState


class _Scores:
    def follow(self, state, batches):
        return Findings(lines=['0.5'], content={'accuracy': 0.5})

    report = follow


def test_all_is_written_before_the_first_line_is_printed_to_a_pipe_that_may_be_closed(tmp_path, monkeypatch):
    reporter = Reporter(Outputs(tmp_path), {'odd': _Scores()}, object.__new__(Dataset), 'val', count=0)
    drawn = []
    monkeypatch.setattr(Reporter, '_draw', lambda *_: drawn.append('all') or [])
    monkeypatch.setattr(sys, 'stdout', _Closed())
    with pytest.raises(BrokenPipeError):
        reporter.report(TrainState(7, {}, {}, (), None, 0, 0).model)
    assert json.loads((tmp_path / 'evaluations' / '000007.json').read_text())['odd'] == {'accuracy': 0.5} and drawn == ['all']


class _Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


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
