"""The page that a finished run leaves in its directory."""

import logging

import jax

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.reporting import gathering, page
from ar_seg_jax.runs import workdir
from ar_seg_jax.runs.run import Run

_logger = logging.getLogger(__name__)


def leave(run: Run, state: ModelState):
    """Writes it, where the run draws pictures at all; process 0 only.

    All else is written by then. So whatever goes wrong is told, with where it happened, and ends nothing.
    """
    if jax.process_index() or not run.config['evaluation']['pictures']:
        return
    path = workdir.report(run.directory)
    try:
        run.outputs.write(path, page.of_runs([gathering.of_run(run, state)]))
    except UserError as error:
        _logger.warning('No %s was written: %s', path.name, error)
    except Exception:
        _logger.warning('No %s was written; all else is there, and the command report tries again', path.name, exc_info=True)
    else:
        print(f'Report: {path}')
