"""What protocols are called, and what they say of a score."""

import re

import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.protocols import Protocol

FORM = (
    "a protocol is '<matching>', '<matching>:<matched on>' or '<matching>:<matched on>:<scored on>', such as "
    "'many-to-one:train:val'; found "
)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('one-to-one', ('one-to-one', 'test', 'test')),
        ('many-to-one:train', ('many-to-one', 'train', 'test')),
        ('many-to-one:train:val', ('many-to-one', 'train', 'val')),
        ('one-to-one:a+b:c', ('one-to-one', 'a+b', 'c')),
    ],
)
def test_the_split_of_the_config_stands_for_what_is_left_out_at_the_end(text, expected):
    found = Protocol.parse(text, 'test')
    assert (found.matching, found.matched_on, found.scored_on) == expected
    assert found.short == ':'.join(expected)
    assert Protocol.parse(found.short, 'another') == found  # the long form leaves nothing out


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('one-to-one:', FORM + "'one-to-one:'"),
        ('one-to-one::val', FORM + "'one-to-one::val'"),
        ('one-to-one:train:val:test', FORM + "'one-to-one:train:val:test'"),
        ('best', "matching is one of one-to-one, many-to-one; found 'best'"),
        ('best:val:val', "matching is one of one-to-one, many-to-one; found 'best'"),
        ('', "matching is one of one-to-one, many-to-one; found ''"),
    ],
)
def test_a_wrong_protocol_is_explained(text, message):
    with pytest.raises(UserError, match=f'^{re.escape(message)}$'):
        Protocol.parse(text, 'val')


def test_a_protocol_says_in_words_whether_its_score_is_held_out():
    held_out, own = (Protocol.parse(text, 'val') for text in ('many-to-one:train', 'one-to-one'))
    end = 'unmasked network, pixels without a label left out'
    assert str(held_out) == f"many-to-one matching fitted on 'train', scored on 'val'; {end}"
    assert str(own) == f"one-to-one matching fitted on 'val', scored on 'val' (the same images: no held-out score); {end}"
