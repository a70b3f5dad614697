"""Options by name, with messages that say what is right; types of values; differences of configs."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest

from ar_seg_jax import configuration
from ar_seg_jax.errors import UserError


def _cake(*, tiers: int, glaze: Literal['none', 'lemon'], baked: bool, height: float = 2.5, by: str = 'hand', oven):
    return tiers, glaze, baked, height, by, oven


def _pie(*, slices: tuple[int, ...]):
    if not slices:
        raise TypeError('a fault of the program, which is no mistake of a user')
    return slices


KNOWN = {'cake': _cake, 'pie': _pie}
CAKE = {'name': 'cake', 'tiers': 3, 'glaze': 'lemon', 'baked': True}


def _choose(options):
    return configuration.choose(KNOWN, 'config.sweets', options, oven='hot')


def test_what_is_named_is_called_with_its_options_and_what_is_given():
    assert _choose(CAKE) == (3, 'lemon', True, 2.5, 'hand', 'hot')
    assert _choose({**CAKE, 'height': 1.5, 'by': 'machine'}) == (3, 'lemon', True, 1.5, 'machine', 'hot')
    assert CAKE['name'] == 'cake', 'the options of the caller have changed'


def test_numbers_without_a_fraction_are_floats_too_and_lists_are_tuples():
    assert _choose({**CAKE, 'height': 2})[3] == 2
    assert configuration.choose(KNOWN, 'config.sweets', {'name': 'pie', 'slices': [1, 2]}) == [1, 2]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'name': 'cakes'}, "config.sweets.name: there is no 'cakes', the names are cake, pie; did you mean 'cake'?"),
        ({'name': 'bread'}, "config.sweets.name: there is no 'bread', the names are cake, pie"),
        ({'name': None}, 'config.sweets.name: there is no None, the names are cake, pie'),
        (
            {'hight': 2},
            "config.sweets of 'cake': there is no 'hight', the names are baked, by, glaze, height, tiers; did you mean 'height'?",
        ),
        ({'xyz': 2}, "config.sweets of 'cake': there is no 'xyz', the names are baked, by, glaze, height, tiers"),
        ({'oven': 'cold'}, "config.sweets of 'cake': there is no 'oven', the names are baked, by, glaze, height, tiers"),
        ({'tiers': '3'}, "config.sweets.tiers: expected a whole number, found '3'"),
        ({'tiers': 3.0}, 'config.sweets.tiers: expected a whole number, found 3.0'),
        ({'tiers': True}, 'config.sweets.tiers: expected a whole number, found True'),
        ({'height': True}, 'config.sweets.height: expected a number, found True'),
        ({'height': 'tall'}, "config.sweets.height: expected a number, found 'tall'"),
        ({'baked': 1}, 'config.sweets.baked: expected True or False, found 1'),
        ({'by': 3}, 'config.sweets.by: expected a text, found 3'),
        ({'glaze': 'mint'}, "config.sweets.glaze is one of none, lemon; found 'mint'"),
        ({'glaze': None}, 'config.sweets.glaze is one of none, lemon; found None'),
    ],
)
def test_a_mistake_is_told_with_what_is_right(changes, message):
    with pytest.raises(UserError, match=f'^{re.escape(message)}$'):
        _choose({**CAKE, **changes})


def test_options_that_lack_are_named_all_at_once():
    with pytest.raises(UserError, match=r"^config\.sweets of 'cake' lacks tiers, baked$"):
        _choose({'name': 'cake', 'glaze': 'none'})
    with pytest.raises(UserError, match=r"^config\.sweets of 'pie' lacks slices$"):
        configuration.choose(KNOWN, 'config.sweets', {'name': 'pie'})
    with pytest.raises(UserError, match=r'^config\.sweets\.name: there is no None, the names are cake, pie$'):
        configuration.choose(KNOWN, 'config.sweets', {})


def test_what_goes_wrong_in_the_function_itself_is_its_own():
    with pytest.raises(TypeError, match='a fault of the program'):
        configuration.choose(KNOWN, 'config.sweets', {'name': 'pie', 'slices': ()})


@pytest.mark.parametrize(
    ('value', 'annotation', 'message'),
    [
        ('stem', Sequence[str], "it: expected a list, found 'stem'; a list of one is ('stem',)"),
        ('12', tuple[int, ...], "it: expected a list, found '12'; a list of one is ('12',)"),
        (None, Sequence[str], 'it: expected a list, found None'),
        (['stem', 3], Sequence[str], 'it[1]: expected a text, found 3'),
        ((True,), tuple[int, ...], 'it[0]: expected a whole number, found True'),
        (2.5, int | Sequence[int], 'it: expected a whole number or a list, found 2.5'),
        (True, int | Sequence[int], 'it: expected a whole number or a list, found True'),
        ((2, 2.5), int | Sequence[int], 'it[1]: expected a whole number, found 2.5'),
        ({'stem': '0.1'}, Mapping[str, float], "it.stem: expected a number, found '0.1'"),
        ({'stem': {'a': [None]}}, Mapping[str, Mapping[str, Sequence[int]]], 'it.stem.a[0]: expected a whole number, found None'),
    ],
)
def test_what_lists_and_mappings_hold_is_of_the_expected_type_too(value, annotation, message):
    with pytest.raises(UserError, match=f'^{re.escape(message)}$'):
        configuration.check_type('it', value, annotation)


@pytest.mark.parametrize(
    ('value', 'annotation'),
    [
        (('stem', 'head'), Sequence[str]),
        (3, int | Sequence[int]),
        ([3, 4], int | Sequence[int]),
        ('whatever', int | None),
        ([], Sequence[str]),
        ([1, 'a'], Sequence),
        ([1, 2], tuple[int, ...]),
        ((1, 'a'), tuple[int, str]),  # of which every element would have a type of its own: not looked at
        ({'stem': 1, 'head': 0.5}, Mapping[str, float]),
        ({'stem': 'a'}, Mapping),
    ],
)
def test_lists_and_mappings_of_the_expected_types_pass(value, annotation):
    configuration.check_type('it', value, annotation)


def test_options_of_a_thing_without_a_name_are_told_with_their_place():
    for options, message in (
        ({'slice': (1,)}, r"^config\.pie: there is no 'slice', the names are slices; did you mean 'slices'\?$"),
        ({'slices': 3}, r'^config\.pie\.slices: expected a list, found 3$'),
        ({}, r'^config\.pie lacks slices$'),
    ):
        with pytest.raises(UserError, match=message):
            configuration.check_options(_pie, 'config.pie', options)
    configuration.check_options(_cake, 'config.cake', {'tiers': 1, 'glaze': 'none', 'baked': True}, given=['oven'])


FILE = {'step': int, 'share': float, 'done': bool, 'names': tuple, 'of': {'seed': int, 'where': str}}
CONTENT = {'step': 3, 'share': 1, 'done': False, 'names': ['a'], 'of': {'seed': 1, 'where': 'here', 'more': 0}, 'also': 1}


def test_content_of_the_expected_types_passes_whatever_else_there_is():
    configuration.check_types(CONTENT, FILE, 'run.json')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'step': '3'}, "run.json: step: expected a whole number, found '3'"),
        ({'step': False}, 'run.json: step: expected a whole number, found False'),
        ({'share': None}, 'run.json: share: expected a number, found None'),
        ({'done': 0}, 'run.json: done: expected True or False, found 0'),
        ({'names': 'a'}, "run.json: names: expected a list, found 'a'; a list of one is ('a',)"),
        ({'of': 5}, 'run.json: of: expected keys with values, found 5'),
        ({'of': {'seed': 1}}, "run.json: of: lacks 'where'"),
        ({'of': {'seed': 1.5, 'where': ''}}, 'run.json: of: seed: expected a whole number, found 1.5'),
    ],
)
def test_content_of_another_type_is_told_with_its_place(changes, message):
    with pytest.raises(UserError, match=f'^{re.escape(message)}$'):
        configuration.check_types({**CONTENT, **changes}, FILE, 'run.json')
    with pytest.raises(UserError, match=r"^run\.json: lacks 'step'$"):
        configuration.check_types({}, FILE, 'run.json')


def test_differences_are_keys_whose_values_differ_and_keys_that_one_has_not():
    one = {'seed': 1, 'model': {'blocks': 2, 'variant': 'F2'}, 'only': 0, 'same': [1]}
    other = {'seed': 1, 'model': {'blocks': 3, 'variant': 'F2'}, 'model2': {'a': 'x'}, 'same': [1]}
    found = configuration.differences(one, other)
    assert found == [('model.blocks', 2, 3), ('model2.a', None, 'x'), ('only', 0, None)]
    assert configuration.differences(one, one) == []
    words = configuration.in_words(found[:2], 'the run', 'this config')
    assert words == "model.blocks is 2 in the run, 3 in this config; model2.a is None in the run, 'x' in this config"
    assert configuration.in_words([], 'the run', 'this config') == ''
