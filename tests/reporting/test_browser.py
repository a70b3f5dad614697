"""The page in a real browser, from a file and without a network."""

import pytest

from ar_seg_jax.reporting import page
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


@pytest.mark.parametrize(('scheme', 'ground'), [(1, 'rgb(255, 255, 255)'), (0, 'rgb(13, 17, 23)')])
def test_it_is_light_or_dark_as_asked_for_and_all_that_can_be_used_can_be_reached(tmp_path, content, scheme, ground):
    found, complaints = browser.results(tmp_path, content, LOOKS, f'--blink-settings=preferredColorScheme={scheme}')
    assert found['ground'] == ground and found['text'] != ground and not complaints
    assert found['usable'] == found['reached'] > 0
    assert (found['wider'], found['broken']) == (False, 0)
