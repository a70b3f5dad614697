"""The clusters of a run as a table, in which a person names them."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ar_seg_jax.data.classes import Colour
from ar_seg_jax.reporting.account import Account, Cluster
from ar_seg_jax.reporting.elements import NOTHING, element, image, table

_COLUMNS = ('cluster', 'class', 'share', 'thinness', 'border share', 'mean colour', 'most typical crops', 'call it', 'hide')
_MEASURES = (
    'Share: of all pixels. Thinness: the share of its pixels that are within 2 pixels of another cluster. Border share: its '
    'share of the pixels within 8 pixels of the border over its share of all; 1 is as everywhere.'
)
_NAMING = (
    'Say what the clusters are: those of one name become one class, and hidden ones have none. Put the file into the directory '
    'of the run, or give it as --names to other commands. They then use these names, as does this page when it is made again.'
)


def clusters(account: Account) -> Iterator[Element]:
    """What was measured, the table, and what makes a file of names of it; see `runs.naming`."""
    found = table(
        f'{len(account.clusters)} clusters', _COLUMNS, [(str(one.number), list(_cells(one))) for one in account.clusters]
    )
    button = element('button', 'Download names.json', type='button')
    told = element('output', aria_live='polite')
    yield element('p', f'Measured on {account.measured}. {_MEASURES}')
    yield element('div', found, element('p', _NAMING), element('p', button, ' ', told), class_='naming', data_step=account.step)


def _cells(one: Cluster) -> Iterator[Element | str]:
    yield element('span', _swatch(one.colour), one.name or 'no class', class_='named')
    yield f'{one.shape.share:.1%}'
    yield from (NOTHING if value is None else f'{value:.2f}' for value in (one.shape.thinness, one.shape.border_share))
    yield element('span', _swatch(one.mean_colour), _code(one.mean_colour), class_='named') if one.mean_colour else NOTHING
    yield image(one.crops, class_='crops') if one.crops else NOTHING
    fixed = {'aria_label': f'name of cluster {one.number}', 'data_cluster': one.number, 'placeholder': f'cluster {one.number}'}
    yield element('input', type='text', value=one.name or '', **fixed)
    yield element('input', type='checkbox', checked=None if one.name else '', aria_label=f'hide cluster {one.number}')


def _swatch(colour: Colour) -> Element:
    """A square of a colour, beside the words that say what it is."""
    rectangle = element('rect', width='16', height='16', fill=_code(colour))
    return element('svg', rectangle, viewBox='0 0 16 16', class_='swatch', aria_hidden='true')


def _code(colour: Colour) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*colour)
