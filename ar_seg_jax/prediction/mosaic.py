"""Label maps of rasters larger than memory; one that was interrupted goes on where it was.

While a map is made there is a directory beside it, `.<name>.partial`, with a file for each row of windows that is finished and a
journal of what they were made from. The map gets its name when it is whole, and the directory is removed then.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8
from tqdm import tqdm

from ar_seg_jax import files
from ar_seg_jax.data import limits, raster
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.raster import Raster
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.prediction import tiling
from ar_seg_jax.prediction.network import Network
from ar_seg_jax.prediction.windows import Windows

_logger = logging.getLogger(__name__)

_BLOCK = 256  # pixels a side of the tiles of a map
_LOCK, _JOURNAL, _MAP = 'lock', 'journal.json', 'map.tif'

Labels = UInt8[np.ndarray, 'height width']


class Overview(NamedTuple):
    """A whole map from far: its height and width; some of its pixels, of the image and their labels; how many have each label."""

    size: tuple[int, int]
    seen: UInt8[np.ndarray, 'height width 3']
    labels: Labels
    counts: Int[np.ndarray, '256']


def segment(network: Network, source: Path, target: Path, run: Path) -> Overview:
    """Writes the label map of a raster as a GeoTIFF file in tiles, with its place; VOID where it has no data.

    run: the directory that the network is from, by which an interrupted map is known again. DataError for a raster that cannot
    be used, and for a network that wants to see it whole.
    """
    _check(network, source)
    with raster.opened(source, network.form) as opened:
        windows = Windows(network, opened)
        with _journal(target, _identity(network, source, run)) as directory:
            parts = [directory / f'{number:05}.npz' for number in range(windows.count)]
            done = next((number for number, path in enumerate(parts) if not path.exists()), windows.count)
            if done:
                _logger.info('%s: %d of %d rows of windows are there already', source, done, windows.count)
            rows = tqdm(windows.rows(done), 'segmenting', windows.count, initial=done, unit='row', disable=None, leave=False)
            for path, (labels, seen) in zip(parts[done:], rows, strict=True):
                stream = io.BytesIO()
                np.savez_compressed(stream, labels=labels, seen=seen)
                files.write(path, stream.getvalue())
            overview = _assemble(parts, opened, network, windows.step, directory / _MAP)
            (directory / _MAP).replace(target)
    return overview


def _check(network: Network, source: Path):
    if network.form.shorter_side:
        why = f'which the network sees with {network.form.shorter_side} pixels on their shorter side'
    elif not network.takes_tiles:
        why = f'which {network.method.title} with this model sees whole'
    else:
        return
    raise DataError(f'{source}: too large for images {why}; cut it into images like those of the training')


def _identity(network: Network, source: Path, run: Path) -> dict[str, Any]:
    """What a map follows from, as JSON has it."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((network.state.params, network.state.extra)):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        digest.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    found = {
        'input': raster.stamps(source),
        'run': [str(run.absolute()), int(network.state.step), digest.hexdigest()],
        'classes': list(network.mapping),
        'form': dataclasses.asdict(network.form),
        'windows': [tiling.TILE, tiling.MARGIN, tiling.RAMP],
    }
    return json.loads(json.dumps(found))


@contextlib.contextmanager
def _journal(target: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """A directory for the rows of a map, empty unless it has those of the same one. It is removed at the end if all went well.

    DataError if another process is at the same map.
    """
    directory = target.with_name(f'.{target.name}.partial')
    if directory.is_symlink():
        raise DataError(f'{target}: {directory} is a link, which nobody made here; remove it')
    directory.mkdir(parents=True, exist_ok=True)
    try:
        held = files.lock(directory / _LOCK, wait=False)
    except BlockingIOError as error:
        raise DataError(f'{target}: another process is making this map; wait for it, or choose another --output') from error
    with held:
        before = None
        with contextlib.suppress(FileNotFoundError, UserError):
            before = files.read_json(directory / _JOURNAL)
        if before != identity:
            if before:
                _logger.info('%s: what is there was made from another input or network, so it begins anew', target)
            for path in directory.iterdir():
                if path.name != _LOCK:
                    path.unlink()
            files.write_json(directory / _JOURNAL, identity)
        yield directory
        shutil.rmtree(directory)


def _assemble(parts: Sequence[Path], source: Raster, network: Network, step: int, path: Path) -> Overview:
    """Writes the map from its rows, block by block from the top, so that it has the same bytes however often it was begun."""
    (height, width), place = source.size, source.place
    options = {'height': height, 'width': width, 'count': 1, 'dtype': 'uint8', 'nodata': VOID, 'BIGTIFF': 'IF_SAFER'}
    tiles = {'tiled': True, 'blockxsize': _BLOCK, 'blockysize': _BLOCK, 'compress': 'deflate'}
    seen, shown, counts, top = [], [], np.zeros(256, np.int64), 0
    rows = np.empty((0, width), np.uint8)
    where = {'gcps': place.points} if place.points else {'transform': place.transform}
    with raster.created(path, **options, **tiles, **where, crs=place.crs) as file:
        file.write_colormap(1, {index: entry.colour for index, entry in enumerate(network.classes)})
        file.update_tags(AREA_OR_POINT=place.about)
        for part in parts:
            labels, of_image = _load(part)
            bottom = top + len(rows)
            shown.append(labels[-bottom % step :: step, ::step])
            seen.append(of_image)
            counts += np.bincount(labels.ravel(), minlength=256)
            rows = np.concatenate([rows, labels])
            whole = len(rows) if bottom + len(labels) == height else len(rows) // _BLOCK * _BLOCK
            if whole:
                file.write(rows[:whole], 1, window=((top, top + whole), (0, width)))
            rows, top = rows[whole:], top + whole
    return Overview((height, width), np.concatenate(seen), np.concatenate(shown), counts)


def _load(part: Path) -> tuple[Labels, UInt8[np.ndarray, '_ _ 3']]:
    with limits.refusing(part, 'damaged row of a map', f'remove {part.parent} and start again'), np.load(part) as found:
        return found['labels'], found['seen']
