"""A report as one file of HTML, which needs nothing else."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from ar_seg_jax.reporting import comparison, elements, sections
from ar_seg_jax.reporting.account import Account
from ar_seg_jax.reporting.elements import element, section


def of_runs(accounts: Sequence[Account]) -> bytes:
    """The page of one run, or of several side by side, with each of them below."""
    if len(accounts) == 1:
        title, found = f'Report of {accounts[0].name}', list(sections.of_run(accounts[0], 2, 'run'))
    else:
        named = _named(accounts)
        own = (
            section(2, name, *sections.of_run(account, 3, f'run-{number}'), id_=f'run-{number}')
            for number, (name, account) in enumerate(named.items())
        )
        title, found = f'Comparison of {", ".join(named)}', [*comparison.of_runs(named), *own]
    return elements.page(
        title, element('body', element('header', element('h1', title), _contents(found)), element('main', *found))
    )


def _named(accounts: Sequence[Account]) -> dict[str, Account]:
    """By names that tell them apart."""
    shared = len({account.name for account in accounts}) < len(accounts)
    return {f'{one.name} ({number})' if shared else one.name: one for number, one in enumerate(accounts, 1)}


def _contents(found: Sequence[Element]) -> Element:
    """Links to the sections."""
    links = (element('li', element('a', one[0].text, href=f'#{one.get("id")}')) for one in found)
    return element('nav', element('ul', *links), aria_label='Sections')
