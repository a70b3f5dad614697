"""The loss of a global batch and its gradients, at once or in parts.

Each device computes the forward and the backward pass of its own images (`parallel.on_devices`); the objective between them is
that of the whole batch. What the images of a device contribute to the gradient of a parameter, by all views and in all parts, is
summed there first, and over devices once, at the end.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import parallel
from ar_seg_jax.epochs import Time
from ar_seg_jax.interfaces import Batch, Extra, Method, Metrics, Params

Summed = Callable[[Params], Params]
Loss = tuple[Float[Array, ''], tuple[Extra, Metrics]]


def loss(method: Method, params: Params, extra: Extra, batch: Batch, *, key, time: Time) -> Loss:
    """The loss of a batch, with new extra and metrics."""
    return _loss(method, parallel.copies(params), extra, batch, key, time)


def of_batch(
    method: Method, params: Params, extra: Extra, batch: Batch, *, key, time: Time, summed: Summed = parallel.summed
) -> tuple[Loss, Params]:
    """The loss of a batch and its gradients by the parameters. summed: how those of the devices are added up."""

    def of(copies) -> Loss:
        return _loss(method, copies, extra, batch, key, time)

    found, gradients = jax.value_and_grad(of, has_aux=True)(parallel.copies(params))
    return found, summed(gradients)


def of_parts(
    method: Method, params: Params, extra: Extra, batch: Batch, *, key, time: Time, summed: Summed = parallel.summed
) -> tuple[Loss, Params]:
    """The same for a batch whose leaves have a first axis of parts, which are computed one after another.

    The objective is that of the *whole* batch: a mean of the parts' mutual information would be another number. A first
    pass keeps the outputs only, the objective is differentiated by them, and a second pass carries this back to the
    parameters part by part (gradient caching, Gao et al. 2021). Memory is that of one part and the outputs of all; the
    price is one more forward pass. Batch norm sees one part at a time: normalisation differs from that of the undivided
    batch, and everything in `extra` moves by the mean of how far the parts move it; what is no float (a count, labels, a key) is
    that of the last part. Outputs that are no floats reach the objective as they are.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    parts, copies = (batch, jnp.arange(count)), parallel.copies(params)

    def forward(copies, batch, part):
        return _forward(method, copies, extra, batch, key, time, part)

    def first_pass(moves, xs):
        outputs, after = forward(copies, *xs)
        return jax.tree.map(
            lambda total, before, after: total + (after - before) if _is_float(after) else after, moves, extra, after
        ), outputs

    def second_pass(total, xs):
        part, cotangent = xs
        _, pullback = jax.vjp(lambda copies: _split(forward(copies, *part)[0])[0], copies)
        return jax.tree.map(jnp.add, total, pullback(cotangent)[0]), None

    still = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if _is_float(leaf) else leaf, extra)
    moves, outputs = jax.lax.scan(first_pass, still, parts)
    floats, others = _split(outputs)
    value, pullback, metrics = jax.vjp(
        lambda floats: method.objective(_merged(_joined(floats, others)), _merged(batch), time=time), floats, has_aux=True
    )
    (cotangents,) = pullback(jnp.ones_like(value))
    gradients, _ = jax.lax.scan(second_pass, jax.tree.map(jnp.zeros_like, copies), (parts, cotangents))

    def moved(before, move):
        return before + (move / count).astype(before.dtype) if _is_float(move) else move  # just `before` where no part moves it

    return (value, (jax.tree.map(moved, extra, moves), metrics)), summed(gradients)


def _loss(method: Method, copies, extra: Extra, batch: Batch, key, time: Time) -> Loss:
    """`loss`, by copies of the parameters."""
    outputs, extra = _forward(method, copies, extra, batch, key, time)
    value, metrics = method.objective(outputs, batch, time=time)
    return value, (extra, metrics)


def _forward(method: Method, copies, extra: Extra, batch: Batch, key, time: Time, part=0):
    """`Method.forward` by copies of the parameters, on each device."""

    def of_device(params, shared, batch):
        extra, key, time, part = shared
        return method.forward(params, extra, batch, key=key, time=time, part=part)

    return parallel.on_devices(of_device, copies, (extra, key, time, part), batch)


def _is_float(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _split(tree):
    """Floats, which can be differentiated by, and all else; each with None where the other has a leaf."""
    floats = jax.tree.map(lambda leaf: leaf if _is_float(leaf) else None, tree)
    return floats, jax.tree.map(lambda leaf: None if _is_float(leaf) else leaf, tree)


def _joined(floats, others):
    return jax.tree.map(lambda one, other: other if one is None else one, floats, others, is_leaf=lambda leaf: leaf is None)


def _merged(tree):
    """Parts as one batch. The parts' axis goes inside, so that images stay on the device where they are."""
    return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:]), tree)
