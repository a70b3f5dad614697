"""Label maps of two directories, paired by their names: true ones, and what anything made of the same images.

A name is the path of a file below its directory, without its ending. Where names end in _labels, as those of `ar_seg_jax.predict`
do, only these files are taken, without that end. What the ids of a directory mean is said by a classes.json, see `folder`, in it
or, of a directory called labels, beside it; without one each id that occurs is a class.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import annotation, images, listing
from ar_seg_jax.data.annotation import Labels
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import printable
from ar_seg_jax.interfaces import VOID

_logger = logging.getLogger(__name__)

_END = '_labels'


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Iterated over, pairs of a prediction, whose values are the classes of `predictions`, and a label map; VOID is nothing.

    files: the label map and the prediction of each name. labels, predictions: how they are read.
    """

    files: Mapping[str, tuple[Path, Path]]
    labels: Labels
    predictions: Labels

    def __iter__(self) -> Iterator[tuple[UInt8[np.ndarray, 'height width'], UInt8[np.ndarray, 'height width']]]:
        for label, prediction in self.files.values():
            yield self.predictions.read(prediction), self.labels.read(label)


def find(directory: Path) -> dict[str, Path]:
    """The label maps below a directory by their names; DataError if there is none, or two of the same name."""
    found = listing.by_identifier(directory)
    ours = {name.removesuffix(_END): path for name, path in found.items() if name.endswith(_END)}
    return ours or found


def table_of(directory: Path) -> Path | None:
    """The classes.json that belongs to a directory, or None."""
    beside = [directory.parent] if directory.name == 'labels' else []
    return next((table for place in (directory, *beside) if (table := place / 'classes.json').exists()), None)


def paired(labels: Path, predictions: Path, table: Path | None, *, matched: bool, common: bool = False) -> Pairs:
    """The label maps and predictions of two directories.

    table: that of the labels, see `table_of`. matched: whether the values of predictions are clusters, which get classes later,
    whatever they are; otherwise they are classes, by the table of their directory, or else by that of the labels. common: leave
    out files without partner.

    DataError, after a line for each, for files without partner, of another size than theirs, or with pixels that are no ids.
    """
    true, predicted = find(labels), find(predictions)
    files = {name: (path, predicted[name]) for name, path in true.items() if name in predicted}
    if not files:
        raise DataError(
            f'no file in {predictions} is called like one in {labels}: there is {next(iter(predicted))!r}, and here '
            f'{next(iter(true))!r}; names, but for their endings, must be the same'
        )
    own = table_of(predictions)
    reading = annotation.read_classes(table) if table else annotation.UNNAMED
    guessing = annotation.read_classes(own) if own else reading
    problems = [] if common else [*_lonely(true, predicted, predictions), *_lonely(predicted, true, labels)]
    ids = _ids(files, reading, guessing, matched, problems)
    refuse(problems)
    if not table:
        reading = annotation.numbered(ids[0] if matched or own else ids[0] | ids[1])
    if matched:
        clusters = annotation.numbered(ids[1], 'cluster')
        guessing = dataclasses.replace(clusters, colours=guessing.colours, colour_ids=guessing.colour_ids)
    else:
        guessing = _renamed(own, guessing, labels, reading) if own else reading
    return Pairs(files, reading, guessing)


def refuse(problems: Sequence[str]):
    """DataError, after a line for each problem, if there are any."""
    for problem in problems:
        _logger.error('%s', printable(problem))
    if problems:
        raise DataError(f'{len(problems)} problems with files, see above; nothing was scored. Mend or remove these files')


def _lonely(names: Mapping[str, Path], partners: Mapping[str, Path], place: Path) -> list[str]:
    return [
        f'{path}: there is no {name!r} in {place}; --common leaves out what has no partner'
        for name, path in names.items()
        if name not in partners
    ]


def _ids(
    files: Mapping[str, tuple[Path, Path]], reading: Labels, guessing: Labels, matched: bool, problems: list[str]
) -> tuple[set[int], set[int]]:
    """All ids of labels and of predictions; what is wrong with a file is added to `problems`."""
    found: tuple[set[int], set[int]] = set(), set()
    for pair in files.values():
        maps = []
        for path, way, known, ids in zip(pair, (reading, guessing), (True, not matched), found, strict=True):
            try:
                maps.append(way.ids(path))
                if known and way.by_id:
                    images.map_ids(path, maps[-1], way.by_id)
            except DataError as error:
                problems.append(str(error))
            else:
                ids.update(np.unique(maps[-1]).tolist())
        if len(maps) == len(pair):
            try:
                images.check_same_size(pair[1], maps[1], maps[0], f'that of {pair[0]}')
            except DataError as error:
                problems.append(str(error))
    return found


def _renamed(own: Path, predictions: Labels, labels: Path, reading: Labels) -> Labels:
    """The way to read predictions, whose classes have the places that labels have for those of the same names."""
    places = {entry.name: index for index, entry in enumerate(reading.classes)}
    names = [entry.name for entry in predictions.classes]
    if missing := [name for name in names if name not in places]:
        raise DataError(
            f'{own}: there are predictions of {", ".join(missing)}, but the classes of {labels} are {", ".join(places)}; use the '
            'same names, give the --classes of the labels, or match what differs with --matching=one-to-one'
        )
    by_id = {key: index if index == VOID else places[names[index]] for key, index in predictions.by_id.items()}
    return dataclasses.replace(predictions, classes=reading.classes, by_id=by_id)
