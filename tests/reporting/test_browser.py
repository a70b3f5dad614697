"""The page in a real browser, from a file and without a network."""

import pytest

from ar_seg_jax.reporting import page
from ar_seg_jax.runs import naming
from tests.support import accounts, browser

pytestmark = pytest.mark.skipif(browser.found() is None, reason='no Chromium is installed (apt-get install chromium)')

SLIDERS = """
const opacity = () => [...page.querySelectorAll('.labels')].map(image => Number(view.getComputedStyle(image).opacity));
const sliders = [...page.querySelectorAll('input[type=range]')];
const move = (slider, value) => { slider.value = value; slider.dispatchEvent(new view.Event('input', {bubbles: true})); };
const found = [opacity()];
move(sliders[1], 0);
found.push(opacity());
move(sliders[0], 100);
found.push(opacity(), sliders.map(slider => slider.value), sliders.map(slider => slider.getAttribute('aria-valuetext')));
return found;
"""
LOOKS = """
const style = view.getComputedStyle(page.body);
const usable = [...page.querySelectorAll('nav a, summary, input')];
const reached = usable.filter(one => { one.focus(); return page.activeElement === one; });
return {
  ground: style.backgroundColor, text: style.color, usable: usable.length, reached: reached.length,
  wider: page.documentElement.scrollWidth > page.documentElement.clientWidth,
  broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).length,
};
"""


@pytest.fixture(scope='module')
def content():
    return page.of_runs([accounts.account('<script>mine</script>')])


def test_sliders_move_between_images_and_label_maps_by_themselves_and_together(tmp_path, content):
    (before, own, together, values, words), complaints = browser.results(tmp_path, content, SLIDERS)
    assert before == [0.55, 0.55] and own == [0, 0.55] and together == [1, 1]
    assert values == ['100'] * 3 and words == ['100 %'] * 3 and not complaints


def test_side_by_side_each_slider_moves_the_label_map_above_it(tmp_path):
    accounts_of_two = [accounts.account('mine'), accounts.account('other')]
    (before, own, together, *_), complaints = browser.results(tmp_path, page.of_runs(accounts_of_two), SLIDERS)
    assert len(before) == 8 and own == [0, *before[1:]] and together == [1] * 4 + before[4:] and not complaints


@pytest.mark.parametrize(('scheme', 'ground'), [(1, 'rgb(255, 255, 255)'), (0, 'rgb(13, 17, 23)')])
def test_it_is_light_or_dark_as_asked_for_and_all_that_can_be_used_can_be_reached(tmp_path, content, scheme, ground):
    found, complaints = browser.results(tmp_path, content, LOOKS, f'--blink-settings=preferredColorScheme={scheme}')
    assert found['ground'] == ground and found['text'] != ground and not complaints
    assert found['usable'] == found['reached'] > 0
    assert (found['wider'], found['broken']) == (False, 0)


NAMES = """
const fields = [...page.querySelectorAll('.naming input[type=text]')];
const told = page.querySelector('.naming output');
let blob = null, called = null;
view.URL.createObjectURL = given => { blob = given; return 'data:,'; };
view.HTMLAnchorElement.prototype.click = function() { called = this.download; };
const type = (field, name) => { field.value = name; field.dispatchEvent(new view.Event('input', {bubbles: true})); };
type(fields[0], ' "sky" ');
type(fields[1], ' "sky" ');
const together = told.textContent;
page.querySelectorAll('.naming input[type=checkbox]')[1].click();
page.querySelector('.naming button').click();
return blob.text().then(text => [together, told.textContent, called, text]);
"""


def test_clusters_are_named_merged_and_hidden_and_the_file_is_what_other_commands_read(tmp_path, content):
    (together, hidden, called, text), complaints = browser.results(tmp_path, content, NAMES)
    assert (together, hidden, called) == ('"sky": 0, 1', '"sky": 0; (hidden): 1', 'names.json') and not complaints
    (tmp_path / 'names.json').write_text(text)
    found = naming.of_clusters(tmp_path, accounts.account().step, len(accounts.account().clusters))
    assert found.mapping == [0, -1] and [entry.name for entry in found.classes] == ['"sky"']
