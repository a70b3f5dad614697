"""The loss of a global batch and its gradients, at once or in parts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax.interfaces import Batch, Extra, Method, Metrics, Params, Time

Loss = tuple[Float[Array, ''], tuple[Extra, Metrics]]


def loss(method: Method, params: Params, extra: Extra, batch: Batch, *, key, time: Time) -> Loss:
    """The loss of a batch, with new extra and metrics."""
    outputs, extra = method.forward(params, extra, batch, key=key, time=time)
    value, metrics = method.objective(outputs, batch, time=time)
    return value, (extra, metrics)


def of_batch(method: Method, params: Params, extra: Extra, batch: Batch, *, key, time: Time) -> tuple[Loss, Params]:
    """The loss of a batch and its gradients by the parameters."""

    def of(params: Params) -> Loss:
        return loss(method, params, extra, batch, key=key, time=time)

    return jax.value_and_grad(of, has_aux=True)(params)


def of_parts(method: Method, params: Params, extra: Extra, batch: Batch, *, key, time: Time) -> tuple[Loss, Params]:
    """The same for a batch whose leaves have a first axis of parts, which are computed one after another.

    The objective is that of the *whole* batch: a mean of the parts' mutual information would be another number. A first
    pass keeps the outputs only, the objective is differentiated by them, and a second pass carries this back to the
    parameters part by part (gradient caching, Gao et al. 2021). Memory is that of one part and the outputs of all; the
    price is one more forward pass. Batch norm sees one part at a time: normalisation differs from that of the undivided
    batch, and everything in `extra` moves by the mean of how far the parts move it; what is no float (a count, labels, a key) is
    that of the last part. Outputs that are no floats reach the objective as they are.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    parts = (batch, jnp.arange(count))

    def forward(params, batch, part):
        return method.forward(params, extra, batch, key=key, time=time, part=part)

    def first_pass(moves, xs):
        outputs, after = forward(params, *xs)
        return jax.tree.map(
            lambda total, before, after: total + (after - before) if _is_float(after) else after, moves, extra, after
        ), outputs

    def second_pass(total, xs):
        part, cotangent = xs
        _, pullback = jax.vjp(lambda params: _split(forward(params, *part)[0])[0], params)
        return jax.tree.map(jnp.add, total, pullback(cotangent)[0]), None

    still = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if _is_float(leaf) else leaf, extra)
    moves, outputs = jax.lax.scan(first_pass, still, parts)
    floats, others = _split(outputs)
    value, pullback, metrics = jax.vjp(
        lambda floats: method.objective(_merged(_joined(floats, others)), _merged(batch), time=time), floats, has_aux=True
    )
    (cotangents,) = pullback(jnp.ones_like(value))
    gradients, _ = jax.lax.scan(second_pass, jax.tree.map(jnp.zeros_like, params), (parts, cotangents))

    def moved(before, move):
        return before + (move / count).astype(before.dtype) if _is_float(move) else move  # just `before` where no part moves it

    return (value, (jax.tree.map(moved, extra, moves), metrics)), gradients


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
