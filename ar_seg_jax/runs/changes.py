"""Whether data is still what a run began with."""

import logging
from pathlib import Path

from ar_seg_jax.data import prepared
from ar_seg_jax.data.builder import SegmentationBuilder
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import workdir

_logger = logging.getLogger(__name__)


def check(directory: Path, builder: SegmentationBuilder, *, accepted: bool):
    """Names what changed since the run in `directory`, with the same config, saved its first state.

    That is a UserError, or, if `accepted`, a warning. Runs that are older than records of it are not checked.
    """
    if not workdir.holds_state(directory):
        return
    config, before = builder.builder_config, workdir.used_data(directory)[1]
    if before in (None, config.name):
        return
    found = prepared.changes(Path(builder.data_dir), before, config.sources)
    message = f'{directory}: data changed since the run began: {found or "which files is not known any more"}'
    if not accepted:
        raise UserError(
            f'{message}. Bring the data back as it was, begin again in another --workdir, or go on with what there is now: '
            '--changed_data'
        )
    _logger.warning('%s', message)
