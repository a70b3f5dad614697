"""Elements as a browser reads them: nothing that is shown becomes a part of the page."""

import base64
import hashlib

import pytest

from ar_seg_jax.reporting import elements
from ar_seg_jax.reporting.account import Picture
from ar_seg_jax.reporting.elements import element
from tests.support import pages

WICKED = '<script>alert(1)</script>" onload="alert(2)&amp;</style>'


def written(*children):
    return pages.read(elements.page('A title', element('body', *children)))


def test_texts_and_attributes_are_what_was_given_and_no_part_of_the_page():
    page = written(element('p', WICKED, element('b', 'bold'), WICKED, title=WICKED))
    paragraph = page.one('p')
    assert paragraph.text == f'{WICKED}bold{WICKED}' and paragraph.attributes == {'title': WICKED}
    assert len(list(page.all('script'))) == 1 and len(list(page.all('style'))) == 1
    assert page.one('body').children[0] is paragraph


@pytest.mark.parametrize(
    ('given', 'shown'), [('a\x00b\n\x1b', r'a\x00b\n\x1b'), ('\u202egnp', r'\u202egnp'), ('a\udcffb', r'a\udcffb')]
)
def test_characters_that_are_no_text_are_shown_as_escapes(given, shown):
    paragraph = written(element('p', given, title=given)).one('p')
    assert (paragraph.text, paragraph.attributes['title']) == (shown, shown)


def test_a_title_is_escaped_too():
    page = pages.read(elements.page(WICKED, element('body')))
    assert page.one('title').text == WICKED


def test_nothing_is_loaded_and_only_the_script_and_the_style_of_the_page_count():
    page = written()
    policy = dict(
        part.split(' ', 1)
        for part in page.one('meta', **{'http-equiv': 'Content-Security-Policy'}).attributes['content'].split('; ')
    )
    assert (policy['default-src'], policy['img-src']) == ("'none'", 'data:')
    for tag in ('script', 'style'):
        digest = base64.b64encode(hashlib.sha256(page.one(tag).text.encode()).digest()).decode()
        assert policy[f'{tag}-src'] == f"'sha256-{digest}'"


def test_a_table_names_its_rows_and_columns():
    page = written(elements.table('words', ['', 'a'], [('first', ['1']), ('second', [element('b', '2')])]))
    assert [(cell.text, cell.attributes['scope']) for cell in page.all('th')] == [
        ('', 'col'), ('a', 'col'), ('first', 'row'), ('second', 'row'),
    ]  # fmt: skip
    assert page.one('caption').text == 'words' and [cell.text for cell in page.all('td')] == ['1', '2']


def test_a_section_is_named_by_its_heading_and_a_picture_by_its_words():
    picture = Picture(b'\xff\xd8', 'jpeg', 3, 2, 'what it shows')
    page = written(elements.section(3, 'A part', elements.image(picture), id_='x'))
    section = page.one('section', id='x')
    assert page.one('h3').attributes['id'] == section.attributes['aria-labelledby']
    image = page.one('img')
    assert image.attributes['alt'] == 'what it shows' and (image.attributes['width'], image.attributes['height']) == ('3', '2')
    assert image.attributes['src'] == 'data:image/jpeg;base64,/9g='
