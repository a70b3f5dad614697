"""What is in the files of a data set, once it is prepared."""

from ar_seg_jax.data import builder, pipeline


def examples(data) -> dict[str, dict]:
    """The decoded examples by split and id."""
    builder.prepare(data)
    splits = {}
    for split in data.info.splits:
        source = pipeline.source(data, split)
        found = (pipeline.decode(source[index]) for index in range(len(source)))
        splits[split] = {example['id']: example for example in found}
    return splits
