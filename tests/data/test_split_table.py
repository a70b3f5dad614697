"""splits.csv as people and spreadsheets write it, and what is said of anything else."""

import codecs
import re
from pathlib import Path

import pytest

from ar_seg_jax.data import split_table
from ar_seg_jax.data.limits import DataError

BASE = Path('images')
BY_ID = {name: BASE / f'{name}.png' for name in ('a', 'b', 'deeper/c', 'é')}


def _read(tmp_path, content):
    table = tmp_path / 'splits.csv'
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return split_table.read(table, BY_ID, BASE)


@pytest.mark.parametrize(
    'content',
    [
        'id,split\nb,train\na,train\né,val\n',
        codecs.BOM_UTF8 + 'id,split\nb,train\na,train\né,val\n'.encode(),
        'id;split\r\nb;train\r\na;train\r\né;val',
        ' ID , Split ,area\n b , train ,"1,5;2"\n a,train,\n\té ,val\n',
        '"Split";"Id"\n"train";"b"\n"train"; "a"\n"val";"é"\n',
        '\nid,split\n\nb,train\n,\na,train\né,val\n\n',
        'scene,split,id,height\nx;y,train,b,3\n,train,a\nx,val,é,5,\n',
    ],
)
def test_tables_of_people_and_spreadsheets_say_the_same(tmp_path, content):
    expected = {'train': [('b', BY_ID['b']), ('a', BY_ID['a'])], 'val': [('é', BY_ID['é'])]}
    found = _read(tmp_path, content)
    assert found == expected and list(found) == list(expected)


def test_without_a_table_there_are_no_splits(tmp_path):
    assert split_table.read(tmp_path / 'splits.csv', BY_ID, BASE) == {}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            'id,partition\na,train\n',
            ", line 1: the header has one column 'id' and one column 'split'; the line is 'id,partition'",
        ),
        ('\nid split\na train\n', ", line 2: the header has one column 'id' and one column 'split'; the line is 'id split'"),
        (
            'id,split,Split\na,train,val\n',
            ", line 1: the header has one column 'id' and one column 'split'",
        ),
        ('a,train\nb,val\n', ", line 1: the header has one column 'id' and one column 'split'; the line is 'a,train'"),
        (' \n', ", line 1: the header has one column 'id' and one column 'split'; the line is ' '"),
        ('id,split\n', ': no rows below the header; write one for every image, or remove the file'),
        (
            'id,split\na,train\nb;train\n',
            ", line 3: a split is called by letters, digits, _ and -, found ''; the line is",
        ),
        ('id,split\n,train\n', ", line 2: a row has an id; the line is ',train'"),
        ('id,split\na,train,x\n', ", line 2: a row has the 2 columns of the header; the line is 'a,train,x'"),
        ('id,split\na,to train\n', ", line 2: a split is called by letters, digits, _ and -, found 'to train'; the line is"),
        ('id,split\né,val\n'.encode('latin-1'), ': not a table in CSV format, in UTF-8 ('),
        ('id,split\na,train\nb,val\na,val\nb,train\na,test\n', ": 2 ids are in two splits: 'a', 'b'; every image has one row"),
        ('id,split\na,train\nb,val\na,train\n', ": 1 ids are in two rows: 'a'; every image has one row"),
        ('id,split\na,train\nx,val\ny,val\n', ": 2 ids have no image in images: 'x', 'y'. An id is the path of an image"),
    ],
)
def test_anything_else_is_refused_with_the_line_or_the_ids(tmp_path, content, message):
    with pytest.raises(DataError, match=rf'splits\.csv{re.escape(message)}'):
        _read(tmp_path, content)


def test_a_message_lists_ten_ids(tmp_path):
    rows = ''.join(f'x{number},train\n' for number in range(13))
    with pytest.raises(DataError, match=r": 13 ids have no image in images: 'x0', .*, 'x9' and 3 more\. "):
        _read(tmp_path, f'id,split\n{rows}')
