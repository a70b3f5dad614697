"""Accounts of runs that were never trained, for pages."""

import dataclasses
import io

import numpy as np
from PIL import Image

from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import confusions
from ar_seg_jax.evaluation.shapes import Shape
from ar_seg_jax.reporting import encoding
from ar_seg_jax.reporting.account import Account, Cluster, Picture, Pictured, Scores

CLASSES = (Class('sky', (10, 120, 250)), Class('<b>road</b>', (200, 30, 30)))
PROTOCOL = 'one-to-one:val:val'


def record(step, accuracy):
    return [
        {'step': step, 'kind': 'training', 'loss': 1 - accuracy},
        {'step': step, 'kind': 'evaluation', f'{PROTOCOL}/accuracy': accuracy},
    ]


def pictured(name, group='best', shade=90):
    """Its upper half is sky, and so says its label map; its labels say so of the upper quarter."""
    label, truth = np.ones((2, 8, 12), np.uint8)
    label[:4], truth[:2] = 0, 0
    picture = encoding.photograph(np.full((8, 12, 3), shade, np.uint8), f'image {name}')
    painted = [encoding.painted(one, CLASSES, f'{kind} of {name}') for kind, one in (('label map', label), ('labels', truth))]
    return Pictured(name, group, 0.75, picture, *painted)


def account(name='mine', **changes):
    """One with everything in it."""
    confusion = confusions.shares(np.array([[3, 1], [1, 0]]), np.array([0, 1]), CLASSES)
    crops = encoding.photograph(np.full((64, 64, 3), 200, np.uint8), 'crops of sky')
    full = Account(
        name,
        20,
        {'Method': 'AC', 'Steps': '20'},
        [*record(1, 0.4), *record(20, 0.8)],
        notes=['a note'],
        warnings=['cluster 1 is thin'],
        clusters=[
            Cluster(0, *CLASSES[0][:2], Shape(0.5, 0.25, 1.1), (12, 34, 56), crops),
            Cluster(1, *CLASSES[1][:2], Shape(0.0, None, None), None, None),
        ],
        measured="all images of 'val'",
        images=[pictured('first'), pictured('<i>second</i>', 'worst', shade=30)],
        ranked='the best and worst',
        scores=[Scores('Clusters against classes', [('AC', {'accuracy': 0.8}), ('k-means', {'accuracy': 0.5})], ['how'] * 2)],
        confusion=confusion,
        confusion_protocol='how',
    )
    return dataclasses.replace(full, **changes)


def decoded(picture: Picture):
    return np.array(Image.open(io.BytesIO(picture.content)).convert('RGB'))
