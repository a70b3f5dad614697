"""InfoNCE between the representations of two views, over all pairs of places (ARL: Ouali et al. 2020, supplement Eq. 7)."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import displacements

Maps = Float[Array, 'batch height width depth']
Keys = Float[Array, 'images places depth']
Places = Float[Array, 'batch positions depth']

# Anchors (over all images of a device) whose scores against all keys are held at once; memory is linear in images x places.
_ANCHORS_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class ContrastiveLoss:
    """The negative of the InfoNCE bound on mutual information, and what to know about it.

    displacement: half-window T in places of the feature map; what is up to T rows and columns away in the other view is
        a positive too, and the loss is the mean over all of them.
    temperature: scores are divided by it; the supplement has none, which is 1.
    """

    displacement: int
    temperature: float

    def __post_init__(self):
        if self.temperature <= 0:
            raise UserError(f'the temperature must be above 0, found {self.temperature}')

    def __call__(
        self, anchors: Maps, positives: Maps, negatives: Keys, places: int
    ) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
        """The loss from phi_1(y), phi_2(y') and the keys among phi_2(y'), as scalars in nats.

        `negatives` are all places of each image or some that were drawn from `places` ones; the others then count as if
        they had the same mean, which makes the value somewhat too high on average. The bound is log N, of the N - 1 negatives
        and one positive of an anchor.
        """
        batch = anchors.shape[0]
        if batch < 2:
            raise UserError('negatives come from other images, so a batch needs at least 2; found 1')
        anchors = anchors / self.temperature
        partition = log_partition(anchors, negatives) + jnp.log(places / negatives.shape[1])
        bound = jnp.log(1 + (batch - 1) * float(places))
        value = bound - cross_entropy(anchors, positives, partition, self.displacement)
        return -value, {'mutual_information': value, 'mutual_information_bound': bound}


def log_partition(anchors: Maps, negatives: Keys) -> Float[Array, 'batch height width']:
    """Log of the sum of e^score over all keys of *other images*, exact (supplement, section 3.2).

    Two places of one image are likely to show the same thing, so they are no negatives. Anchors go through in chunks of a few
    places of every image, whose scores are computed again in the backward pass: memory is a chunk's scores against all
    keys, where the full matrix has (batch x places)^2 entries.

    Under a mesh (`jax.set_mesh`) each device gathers all keys once and sends their gradients back once; left to itself XLA
    would communicate in every chunk.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return _log_partition(anchors, negatives, jnp.arange(len(anchors)))
    (axis,) = mesh.axis_names

    def on_device(anchors, negatives):
        images = jax.lax.axis_index(axis) * len(anchors) + jnp.arange(len(anchors))
        return _log_partition(anchors, jax.lax.all_gather(negatives, axis, tiled=True), images)

    return jax.shard_map(on_device, in_specs=PartitionSpec(axis), out_specs=PartitionSpec(axis))(anchors, negatives)


def _log_partition(anchors: Maps, negatives: Keys, images: Int[Array, 'batch']) -> Float[Array, 'batch height width']:
    """`images` are the numbers of the anchors' images among those of the keys."""
    batch, height, width, depth = anchors.shape
    return _streamed(anchors.reshape(batch, height * width, depth), negatives, images).reshape(batch, height, width)


@jax.custom_vjp
def _streamed(anchors: Places, negatives: Keys, images: Int[Array, 'batch']) -> Float[Array, 'batch positions']:
    """`_log_partition` of places in a row.

    From the saved result the backward pass has softmax in one exponential; differentiated by JAX it would find the maximum and
    the sum of all scores again.
    """
    return _forward(anchors, negatives, images)[0]


def _forward(anchors, negatives, images):
    def of_chunk(queries):
        return jax.nn.logsumexp(_scores(queries, negatives, images), axis=(2, 3))

    partition = _joined(jax.lax.map(of_chunk, _chunked(anchors)), anchors.shape[1])
    return partition, (anchors, negatives, images, partition)


def _backward(saved, gradient):
    """The derivative of the logarithm by a score is the score's share in the sum."""
    anchors, negatives, images, partition = saved

    def of_chunk(of_negatives, chunk):
        queries, partition, gradient = chunk
        shares = jnp.exp(_scores(queries, negatives, images) - partition[..., None, None])
        # The gradient is a factor of whole rows, so that it can stay out of the large array.
        gradient = gradient[..., None]
        of_negatives += jnp.einsum('bpd,bpkq->dkq', gradient * queries, shares)
        return of_negatives, gradient * jnp.einsum('bpkq,kqd->bpd', shares, negatives)

    chunks = tuple(map(_chunked, (anchors, partition, gradient)))
    of_negatives, of_anchors = jax.lax.scan(of_chunk, jnp.zeros_like(jnp.moveaxis(negatives, 2, 0)), chunks)
    return _joined(of_anchors, anchors.shape[1]), jnp.moveaxis(of_negatives, 0, 2), None


_streamed.defvjp(_forward, _backward)


def _scores(queries, negatives, images):
    """(batch, places, images, keys); -inf within an image."""
    same_image = (images[:, None] == jnp.arange(len(negatives))[None])[:, None, :, None]
    return jnp.where(same_image, -jnp.inf, jnp.einsum('bpd,kqd->bpkq', queries, negatives))


def _chunked(x: Float[Array, 'batch places *rest']) -> Float[Array, 'chunks batch chunk *rest']:
    """A few places of every image at a time; zeros fill the last chunk."""
    batch, places, *rest = x.shape
    chunk = min(places, max(1, _ANCHORS_AT_ONCE // batch))
    chunks = -(-places // chunk)
    padded = jnp.pad(x, ((0, 0), (0, chunks * chunk - places), *[(0, 0)] * len(rest)))
    return jnp.moveaxis(padded.reshape(batch, chunks, chunk, *rest), 1, 0)


def _joined(x: Float[Array, 'chunks batch chunk *rest'], places: int) -> Float[Array, 'batch {places} *rest']:
    """Undoes `_chunked`."""
    chunks, batch, chunk, *rest = x.shape
    return jnp.moveaxis(x, 0, 1).reshape(batch, chunks * chunk, *rest)[:, :places]


def cross_entropy(
    anchors: Maps, positives: Maps, partition: Float[Array, 'batch height width'], displacement: int
) -> Float[Array, '']:
    """Mean of -log(e^s / (e^s + e^partition)) over anchors and displacements, s being the score of a positive pair.

    Pairs that reach beyond the map do not count. Raises UserError if the window is larger than the map.
    """
    height, width = anchors.shape[1:3]
    displacements.check(displacement, height, width)
    window = 2 * displacement + 1
    around = ((0, 0), (displacement, displacement), (displacement, displacement))
    padded = jnp.pad(positives, (*around, (0, 0)))
    inside = jnp.pad(jnp.ones((1, height, width)), around)

    @jax.checkpoint
    def add(totals, index):
        place = (0, index // window, index % window)
        shifted = jax.lax.dynamic_slice(padded, (*place, 0), positives.shape)
        counts = jax.lax.dynamic_slice(inside, place, (1, height, width))
        score = jnp.einsum('bhwd,bhwd->bhw', anchors, shifted)
        total, count = totals
        return (total + jnp.sum(counts * jax.nn.softplus(partition - score)), count + counts.sum()), None

    (total, count), _ = jax.lax.scan(add, (0.0, 0.0), jnp.arange(window**2))
    return total / (count * anchors.shape[0])
