"""Several runs side by side."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element

from ar_seg_jax.drawing import series
from ar_seg_jax.drawing.series import Line
from ar_seg_jax.reporting import sections
from ar_seg_jax.reporting.account import Account, Pictured, Scores
from ar_seg_jax.reporting.charts import SHARE
from ar_seg_jax.reporting.elements import NOTHING, element, section, table

Named = Mapping[str, Account]


def of_runs(accounts: Named) -> Iterator[Element]:
    """Sections about all of them, by their names: facts, scores, curves, and the images that they have in common."""
    yield section(2, 'What was trained', _facts(accounts), id_='facts')
    if found := list(_scores(accounts)):
        yield section(2, 'Scores', *found, id_='scores')
    if found := list(_curves(accounts)):
        yield section(2, 'How training went', element('div', *found, class_='charts'), id_='curves')
    if found := list(_images(accounts)):
        words = 'The images of the first run, with the label maps of all runs that were evaluated on them.'
        all_of_them = element('label', 'All label maps: ', sections.slider(), class_='slider all')
        yield section(2, 'Images', element('p', words), all_of_them, *found, id_='images')


def _facts(accounts: Named) -> Element:
    names = dict.fromkeys(itertools.chain.from_iterable(account.facts for account in accounts.values()))
    rows = [(name, [account.facts.get(name, NOTHING) for account in accounts.values()]) for name in names]
    return table(f'{len(accounts)} runs', ['about', *accounts], rows)


def _scores(accounts: Named) -> Iterator[Element]:
    """A table for each protocol, of the runs themselves without what each was compared with."""
    titles = dict.fromkeys(one.title for account in accounts.values() for one in account.scores)
    for title in titles:
        own = [(name, one) for name, account in accounts.items() for one in account.scores if one.title == title]
        rows = [(name, one.rows[0][1]) for name, one in own]
        yield sections.scores(Scores(title, rows, [one.protocols[0] for _, one in own]))


def _curves(accounts: Named) -> Iterator[Element]:
    """What each run was trained for, by its unit, and its first score."""
    of_training: dict[str, list[Line]] = {}
    of_scores: list[Line] = []
    for family, (name, account) in enumerate(accounts.items()):
        unit, lines = series.training(account.records)
        of_training.setdefault(unit, []).extend(_renamed(lines, name, family))
        of_scores += _renamed(series.scores(account.records), name, family)
    for number, (unit, lines) in enumerate(of_training.items()):
        yield from sections.charts('Training', unit, lines, f'training-{number}')
    yield from sections.charts('Scores during training', SHARE, of_scores, 'score')


def _renamed(lines: Sequence[Line], name: str, family: int) -> list[Line]:
    """The first of the lines of a run."""
    return [line._replace(label=f'{name}: {line.label}', family=family, style='-') for line in lines[:1]]


def _images(accounts: Named) -> Iterator[Element]:
    first, *_ = accounts.values()
    for one in first.images:
        same = {name: found for name, account in accounts.items() if (found := _same(account, one))}
        if len(same) > 1:
            shown = [sections.layered(found, name) for name, found in same.items()]
            truth = sections.truth(one)
            yield element('figure', element('figcaption', one.identifier), element('div', *shown, truth, class_='pair'))


def _same(account: Account, image: Pictured) -> Pictured | None:
    """Of a run, what it makes of the same image."""
    for one in (*account.images, *account.compared):
        if (one.identifier, one.image.content) == (image.identifier, image.image.content):
            return one
    return None
