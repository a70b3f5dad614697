"""A trained network as one function of images, as files hold it that others run, and what these have to know of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from ar_seg_jax.data.classes import classes_of
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.prediction.network import Network

Program = Callable[[UInt8[Array, 'batch height width channels']], dict[str, Array]]


def program(network: Network) -> Program:
    """From images in 8 bits, at the scale of the training, to the 'scores' of clusters (float32, batch x height x width x
    clusters, which sum to 1) and the 'labels' (uint8, batch x height x width: classes, 255 for none).

    Weights are constants of it, on one device. UserError for methods whose predictions are no classes of pixels.
    """
    network.require_clusters()
    if network.finds_objects:
        raise UserError(
            f'{network.method.title} finds objects, whose numbers are no classes; of such runs only weights are exported: '
            '--format=safetensors'
        )
    device = jax.local_devices()[0]
    params, extra = jax.device_put(jax.device_get((network.state.params, network.state.extra)), device)
    classes = classes_of(np.arange(network.method.num_clusters), np.array(network.mapping))

    def predict(image):
        scores = network.method.predict(params, extra, image)['scores']
        return {'scores': scores, 'labels': jnp.asarray(classes)[scores.argmax(axis=-1)]}

    return predict


def description(network: Network) -> dict[str, Any]:
    """What goes beside a file, for JSON: what images are like, names and colours of classes, and the class of each cluster."""
    form = network.form
    return {
        'method': network.method.title,
        'step': int(network.state.step),
        'images': {
            'bands': form.channels,
            # Of each band, what becomes 0 and what becomes 255, in between linearly, rounded; none where images have 8 bits.
            'ranges': [list(of_band) for of_band in form.ranges],
            # Images are brought to this share of their size first, or, where it is not 0, to this shorter side; labels back.
            'rescale': form.rescale,
            'shorter_side': form.shorter_side,
            'stride': network.method.output_stride,
        },
        'classes': [entry._asdict() for entry in network.classes],
        'class_of_cluster': [int(place) for place in network.mapping],  # -1 for none
        'no_class': VOID,
    }
