"""Images that lie anywhere: images.csv, a table (`csv_tables`) that names their files.

    image,label,split
    2019/scene one.tif,masks/one.png,train
    /archive/two.tif,,val

Paths begin at the folder of the table unless they are absolute. The column label is for files of label maps, empty for images
without one; without the column split all images are the split 'train'. A row is called by its column id; without one by the path
of its image without the ending.
"""

from pathlib import Path, PurePath
from typing import NamedTuple

from ar_seg_jax.data import images, split_table
from ar_seg_jax.data.csv_tables import Row, Table, listed
from ar_seg_jax.data.limits import DataError

NAME = 'images.csv'


class Manifest(NamedTuple):
    """images: id and file of those of each split. label_files: by id."""

    images: dict[str, list[tuple[str, Path]]]
    label_files: dict[str, Path]


def read(directory: Path) -> Manifest | None:
    """What images.csv of a directory names; None if there is none.

    DataError with the line for what is no such table, and with the names of repeated rows and of files that are not there.
    """
    path = directory / NAME
    if not path.exists():
        return None
    table = Table(path, ('image',))
    if (other := directory / 'splits.csv').exists():
        raise DataError(f'{other}: {NAME} beside it names all images; write the splits to its column split, and remove this file')
    rows = {_identifier(table, row): row for row in table.rows}
    table.refuse_repeated((_identifier(table, row) for row in table.rows), 'ids are in two rows')
    files = {key: directory / row.fields['image'] for key, row in rows.items()}
    label_files = {key: directory / row.fields['label'] for key, row in rows.items() if row.fields.get('label')}
    if missing := [str(file) for file in (*files.values(), *label_files.values()) if not file.is_file()]:
        raise DataError(f'{path}: {len(missing)} files are not there: {listed(missing)}')
    entries = ((split_table.split_of(table, row) if 'split' in row.fields else 'train', key) for key, row in rows.items())
    splits = split_table.by_split(entries)
    return Manifest({split: [(key, files[key]) for key in keys] for split, keys in splits.items()}, label_files)


def _identifier(table: Table, row: Row) -> str:
    image = PurePath(row.fields['image'])
    if image.suffix.lower() not in images.SUFFIXES:
        raise table.wrong(row.line, f'an image is a file ending in {", ".join(images.SUFFIXES)}')
    return row.fields.get('id') or image.with_suffix('').as_posix().lstrip('/')
