"""What the clusters of a run are called: by its evaluation, by a person in a file of names, or by their numbers.

A file of names is `names.json` in the directory of the run, or any other that is given. It is made in the page of the run, or by
hand:

    {"step": 300, "names": {"0": "sky", "1": "road", "2": "road", "3": null}, "colours": {"sky": [120, 180, 250]}}

Clusters of one name are one class; null hides a cluster, whose pixels then have no class. Those that are not named stay what they
are. Without "colours" a class has that of its first cluster. With "step" the file counts for the clusters after this step
only, since those of another can be others.
"""

import logging
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ar_seg_jax import files
from ar_seg_jax.data.classes import UNMATCHED, Class, Colour, colours, from_json, numbered
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.runs import workdir

_logger = logging.getLogger(__name__)

_KEYS = ('step', 'names', 'colours')
_FORM = 'the form of such files is in docs/report.md'


class Naming(NamedTuple):
    """The class of each cluster, UNMATCHED for none, and the classes."""

    mapping: Sequence[int]
    classes: tuple[Class, ...]


def of_clusters(directory: Path, step: int, count: int, names: Path | None = None) -> Naming:
    """Of so many clusters after a step.

    Classes are those of the run's evaluation of this step, which keep their numbers; without one, or without labels, clusters
    have numbers. What a file says, `names` or else that of the run, comes before. UserError for what does not fit together, and
    for a file that is wrong, with the place.
    """
    of_labels = evaluated(directory, step, count)
    known = of_labels or Naming(range(count), numbered('cluster', count))
    found = _read(directory, step, names)
    if found:
        return _named(*found, known, keep=bool(of_labels))
    if not of_labels:
        _logger.info('Step %d was not evaluated with labels: clusters have numbers instead of names', step)
    return known


def evaluated(directory: Path, step: int, count: int) -> Naming | None:
    """What the run's own evaluation of a step says of so many clusters; None without one. UserError if it is of others."""
    found = workdir.load_cluster_classes(directory, step)
    if found and len(found[0]) != count:
        place = workdir.evaluation(directory, step)
        raise UserError(f'{place}: classes of {len(found[0])} clusters, but the model has {count}; evaluate the step again')
    return Naming(*found) if found else None


def as_labels(directory: Path, step: int, labels: Sequence[Class], count: int, names: Path | None = None) -> list[int] | None:
    """The class of the labels that each cluster is called like, UNMATCHED for none; None without a file of names, or where no
    name is one of the labels."""
    if not _read(directory, step, names):
        return None
    found = of_clusters(directory, step, count, names)
    places = {entry.name: place for place, entry in enumerate(labels)}
    if not any(place != UNMATCHED and found.classes[place].name in places for place in found.mapping):
        _logger.info('The names of clusters are none of the labels: they are not scored')
        return None
    return [UNMATCHED if place == UNMATCHED else places.get(found.classes[place].name, UNMATCHED) for place in found.mapping]


def _read(directory: Path, step: int, names: Path | None) -> tuple[Path, Mapping[str, Any]] | None:
    """The file of names that counts for a step, and what is in it; None if there is none."""
    path = names or workdir.names(directory)
    if not (names or path.exists()):
        return None
    try:
        content = files.read_json(path, 'names', advice=_FORM)
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such file; --names is a file of names, {_FORM}') from error
    for key in content:
        if key not in _KEYS:
            raise UserError(f'{path}: found the key {key!r}, expected {", ".join(_KEYS)}; {_FORM}')
    of = content.get('step', step)
    if type(of) is not int:
        raise UserError(f'{path}, "step": expected a number of steps, found {reprlib.repr(of)}')
    if of == step:
        return path, content
    words = f'{path}, "step": the names are for clusters after step {of}, and this is step {step}'
    if names:
        raise UserError(f'{words}; make names for it in its page, or remove "step" if its clusters are the same')
    _logger.warning('%s: they do not count', words)
    return None


def _named(path: Path, content: Mapping[str, Any], known: Naming, keep: bool) -> Naming:
    """What a file says. keep: whether all classes that are known stay, since labels have them."""
    given = _names(path, content['names'], len(known.mapping))
    names = [given.get(number, _name(known, number)) for number in range(len(known.mapping))]
    chosen = _colours(path, content.get('colours', {}), names)
    classes = {entry.name: entry for entry in known.classes} if keep else {}
    taken = {entry.colour for entry in classes.values()} | set(chosen.values())
    for number, name in enumerate(names):
        if name is not None and name not in classes:
            classes[name] = Class(name, chosen.get(name) or next(_free(known, number, taken)))
            taken.add(classes[name].colour)
    if len(classes) > VOID:
        raise UserError(f'{path}: with these names there are {len(classes)} classes, expected at most {VOID}; merge some')
    classes = {name: entry._replace(colour=chosen.get(name, entry.colour)) for name, entry in classes.items()}
    places = {name: place for place, name in enumerate(classes)}
    return Naming([UNMATCHED if name is None else places[name] for name in names], tuple(classes.values()))


def _names(path: Path, given: Any, count: int) -> dict[int, str | None]:
    if not isinstance(given, dict):
        raise UserError(f'{path}, "names": expected an object of names by cluster, found {reprlib.repr(given)}; {_FORM}')
    for key, name in given.items():
        if not key.isdecimal() or not key.isascii() or int(key) >= count or str(int(key)) != key:
            raise UserError(f'{path}, "names": expected numbers of clusters, "0" to "{count - 1}", found {reprlib.repr(key)}')
        if name is not None and not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise UserError(
                f'{path}, "names", "{key}": expected a name, or null for a cluster that is hidden; found {reprlib.repr(name)}'
            )
    return {int(key): name for key, name in given.items()}


def _name(known: Naming, number: int) -> str | None:
    return None if known.mapping[number] == UNMATCHED else known.classes[known.mapping[number]].name


def _colours(path: Path, given: Any, names: Sequence[str | None]) -> dict[str, Colour]:
    if not isinstance(given, dict):
        raise UserError(f'{path}, "colours": expected an object of colours by name, found {reprlib.repr(given)}; {_FORM}')
    if unknown := [name for name in given if name not in names]:
        raise UserError(f'{path}, "colours": no cluster is called {reprlib.repr(unknown[0])}')
    entries = [{'name': name, 'colour': colour} for name, colour in given.items()]
    return {entry.name: entry.colour for entry in from_json(f'{path}, "colours"', entries)}


def _free(known: Naming, number: int, taken: set[Colour]) -> Iterator[Colour]:
    """Colours for a cluster that no class has, its own first."""
    own = [] if known.mapping[number] == UNMATCHED else [known.classes[known.mapping[number]].colour]
    return (colour for colour in [*own, *colours(2 * VOID)] if colour not in taken)
