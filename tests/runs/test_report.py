"""What is said of the findings of evaluators, whatever these are."""

import logging
import types

from ar_seg_jax.evaluation.evaluator import Findings
from ar_seg_jax.runs.report import Reporter


class _Warning:
    def follow(self, state, batches):
        return Findings(lines=['all is well'], warnings=['cluster 1 is odd'])

    report = follow


def test_warnings_are_logged_in_training_and_printed_after_it(tmp_path, caplog, capsys):
    reporter = Reporter(tmp_path, {'odd': _Warning()}, types.SimpleNamespace(evaluation=iter), 'val', count=0)
    model = types.SimpleNamespace(step=7)
    with caplog.at_level(logging.INFO, logger='ar_seg_jax'):
        reporter.follow(types.SimpleNamespace(step=7, model=model), iter)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ('INFO', 'step 7  all is well'),
        ('WARNING', 'step 7  cluster 1 is odd'),
    ]
    reporter.report(model)
    assert capsys.readouterr().out == 'all is well\nWarning: cluster 1 is odd\n'
    assert not list(tmp_path.iterdir())
