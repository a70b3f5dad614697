"""Scores label maps that anything made against the true ones.

    python -m ar_seg_jax.score --labels DIR --predictions DIR [--matching none|one-to-one|many-to-one]
      [--classes FILE] [--output FILE]

Both directories hold label maps of the same names: greyscale or palette images whose pixel values are ids, or, with a
classes.json that has them, images in the colours of classes. 255 is a pixel without a label. With --matching=none ids are classes
on both sides; with the others those of predictions are clusters, which get the classes that fit best on all of these images, so
that the score is not a held-out one. What `predict` writes can be scored as it is.

Prints accuracy, IoU and boundary F-score of each class with 95 % intervals over the images, and who is confused with whom;
--output keeps all of it as JSON. Files that do not fit together are listed, and then nothing is scored.
"""

from absl import flags

from ar_seg_jax import cli

_LABELS = flags.DEFINE_string('labels', None, 'Directory of the true label maps.', required=True)
_PREDICTIONS = flags.DEFINE_string('predictions', None, 'Directory of what is scored.', required=True)
_MATCHING = flags.DEFINE_enum(
    'matching',
    'none',
    ['none', 'one-to-one', 'many-to-one'],
    'How the ids of predictions get their classes; none: by themselves.',
)
_CLASSES = flags.DEFINE_string(
    'classes', None, 'classes.json of the labels; by default that in --labels or, where that is called labels, beside it.'
)
_COMMON = flags.DEFINE_bool('common', False, 'Leave out files that have no partner of the same name.')
_TOLERANCE = flags.DEFINE_float(
    'tolerance', 0, 'Of boundaries, in pixels; 0 is 0.75 % of the diagonal of the image.', lower_bound=0
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the resamples of images that intervals are made of.', lower_bound=0)
_OUTPUT = flags.DEFINE_string('output', None, 'JSON file for the numbers.')


def main():
    import numpy as np

    from ar_seg_jax import files
    from ar_seg_jax.data import label_pairs
    from ar_seg_jax.data.builder import existing_directory
    from ar_seg_jax.evaluation import agreement
    from ar_seg_jax.evaluation.protocols import MATCHINGS

    labels = existing_directory(_LABELS.value, '--labels is the directory of the true label maps')
    predictions = existing_directory(_PREDICTIONS.value, '--predictions is the directory of the label maps that are scored')
    table = files.expanded(_CLASSES.value) if _CLASSES.value else label_pairs.table_of(labels)
    matching = _MATCHING.value
    pairs = label_pairs.paired(labels, predictions, table, matched=matching in MATCHINGS, common=_COMMON.value)
    values = len(pairs.predictions.classes)
    fit = MATCHINGS.get(matching, lambda _: np.arange(values))
    found = agreement.measure(pairs, values, pairs.labels.classes, fit, _TOLERANCE.value, _SEED.value)
    classes = str(table) if table else 'the ids that occur'
    protocol = f'{matching} matching, fitted on these images (no held-out score)' if matching in MATCHINGS else 'ids are classes'
    content = {
        'labels': str(labels),
        'predictions': str(predictions),
        'classes_from': classes,
        'protocol': protocol,
        **agreement.content(found),
    }
    if matching in MATCHINGS:  # what the places in 'mapping' are
        content['ids_of_predictions'] = [key for key, index in pairs.predictions.by_id.items() if index < values]
    if _OUTPUT.value:
        files.write_json(files.expanded(_OUTPUT.value), content)
    print(f'{predictions} against {labels}')
    print(f'Classes: {classes}; {protocol}')
    print('\n'.join(agreement.lines(found)))
    if _OUTPUT.value:
        print(f'\nNumbers: {_OUTPUT.value}')


if __name__ == '__main__':
    cli.run(main)
