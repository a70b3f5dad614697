"""The sections of a report about one run."""

import math
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from ar_seg_jax.drawing import series
from ar_seg_jax.drawing.series import Line
from ar_seg_jax.reporting.account import Account, Pictured, Scores
from ar_seg_jax.reporting.charts import SHARE, chart
from ar_seg_jax.reporting.cluster_table import clusters
from ar_seg_jax.reporting.elements import element, image, number, section, table

_OPACITY = 55  # per cent, of label maps over images at first
_HEATS = 10  # colours of cells of the confusion matrix, beside that of 0


def of_run(account: Account, level: int, id_: str) -> Iterator[Element]:
    """Those that there is something to say in, with headings of this level; `id_` begins the ids in them."""
    yield section(level, 'What was trained', _facts(account), *_remarks(account), id_=f'{id_}-facts')
    if found := list(_curves(account, id_)):
        yield section(level, 'How training went', element('div', *found, class_='charts'), id_=f'{id_}-curves')
    if account.clusters:
        yield section(level, 'Clusters', *clusters(account), id_=f'{id_}-clusters')
    if account.images:
        yield section(level, 'Images', *_images(account), id_=f'{id_}-images')
    if account.pictures:
        shown = (element('figure', element('figcaption', title), image(one)) for title, one in account.pictures.items())
        yield section(level, 'Pictures', *shown, id_=f'{id_}-pictures')
    if account.scores:
        yield section(level, 'Scores', *(scores(one) for one in account.scores), id_=f'{id_}-scores')
    if account.confusion:
        yield section(level, 'Confusion', *_confusion(account), id_=f'{id_}-confusion')


def _facts(account: Account) -> Element:
    rows = [part for name, value in account.facts.items() for part in (element('dt', name), element('dd', value))]
    return element('dl', *rows)


def _remarks(account: Account) -> Iterator[Element]:
    for warning in account.warnings:
        yield element('p', element('strong', 'Warning: '), warning, class_='warning')
    for note in account.notes:
        yield element('p', note, class_='note')


def _curves(account: Account, id_: str) -> Iterator[Element]:
    unit, training = series.training(account.records)
    yield from charts('Training', unit, training, f'{id_}-training')
    yield from charts('Scores during training', SHARE, series.scores(account.records), f'{id_}-score')


def charts(title: str, unit: str, lines: Sequence[Line], id_: str) -> Iterator[Element]:
    """One, if there is a number to draw."""
    if any(math.isfinite(value) for line in lines for _, value in line.points):
        yield chart(title, unit, lines, id_)


def _images(account: Account) -> Iterator[Element]:
    yield element('p', f'Shown are {account.ranked}.')
    yield element('label', 'All label maps: ', slider(), class_='slider all')
    yield element('ul', *(element('li', _pictured(one)) for one in account.images), class_='images')


def _pictured(one: Pictured) -> Element:
    """An image below its label map, and its labels beside."""
    words = f'{one.group}, {one.score:.1%}: {one.identifier}'
    return element('figure', element('figcaption', words), element('div', layered(one, 'label map'), truth(one), class_='pair'))


def layered(one: Pictured, title: str) -> Element:
    """An image below its label map, with a slider between them, which has a title."""
    stack = element('div', image(one.image), image(one.label_map, class_='labels'), class_='stack')
    words = f'{title} over image {one.identifier}'
    return element('div', stack, element('label', title, slider(words), class_='slider'), class_='layered')


def truth(one: Pictured) -> Element | None:
    """The labels of an image, where it has some."""
    return element('div', image(one.truth), element('span', 'labels (black: none)')) if one.truth else None


def slider(words: str | None = None) -> Element:
    """words: what it moves; the text of its label if not given."""
    return element('input', type='range', min='0', max='100', value=_OPACITY, aria_label=words, aria_valuetext=f'{_OPACITY} %')


def scores(one: Scores) -> Element:
    """A table, with the protocol of its rows or, where they have the same, that of all below it."""
    names = list(dict.fromkeys(name for _, values in one.rows for name in values))
    shared = len(set(one.protocols)) == 1
    rows = [
        (title, [*(number(values.get(name, float('nan'))) for name in names), *([] if shared else [protocol])])
        for (title, values), protocol in zip(one.rows, one.protocols, strict=True)
    ]
    columns = ['name', *(name.replace('_', ' ') for name in names), *([] if shared else ['protocol'])]
    words = element('p', f'Protocol: {one.protocols[0]}.', class_='note') if shared else None
    return element('div', table(one.title, columns, rows, class_='numbers'), words)


def _confusion(account: Account) -> Iterator[Element]:
    found = account.confusion
    rows = [(name, [_heat(share) for share in shares]) for name, shares in zip(found.rows, found.values.tolist(), strict=True)]
    yield element('p', "Shares of each class's pixels: columns sum to 1. What is right goes down from the top left.")
    yield table('Clusters (rows) and classes (columns)', ['cluster', *found.columns], rows, class_='numbers confusion')
    yield element('p', f'Protocol: {account.confusion_protocol}.', class_='note')


def _heat(share: float) -> Element:
    heat = 0 if share != share else round(_HEATS * share)
    return element('span', number(share, 2), class_=f'heat heat-{heat}')
