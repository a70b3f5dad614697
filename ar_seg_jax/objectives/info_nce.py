"""InfoNCE between the representations of two views, over all pairs of places (ARL: Ouali et al. 2020, supplement Eq. 7)."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import displacements

Maps = Float[Array, 'batch height width depth']
Keys = Float[Array, 'images places depth']
Places = Float[Array, 'batch positions depth']
Mask = Bool[Array, 'batch height width']  # True where a place counts
KeyMask = Bool[Array, 'images places']

# Anchors (over all images of a device) whose scores against all keys are held at once; memory is linear in images x places.
_ANCHORS_AT_ONCE = 512
# Stands for the logarithm of 0 where an anchor has no key, so that no difference of infinities arises.
_LOWEST = -1e30


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
        self, anchors: Maps, positives: Maps, negatives: Keys, mask: Mask | None = None, key_mask: KeyMask | None = None
    ) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
        """The loss from phi_1(y), phi_2(y') and the keys among phi_2(y'), as scalars in nats.

        `negatives` are all places of each image or some that were drawn from them; the others then count as if they had the
        same mean, which makes the value somewhat too high on average. Anchors, positives and keys count where `mask` and
        `key_mask` say so, by default all of them. The bound is log N, of the N - 1 negatives and one positive of an anchor, in
        the mean over anchors.
        """
        batch, height, width, _ = anchors.shape
        if batch < 2:
            raise UserError('negatives come from other images, so a batch needs at least 2; found 1')
        mask = jnp.ones((batch, height, width), bool) if mask is None else mask
        key_mask = jnp.ones(negatives.shape[:2], bool) if key_mask is None else key_mask
        anchors = anchors / self.temperature
        partition = log_partition(anchors, negatives, key_mask) + jnp.log(height * width / negatives.shape[1])
        value = _bound(mask) - cross_entropy(anchors, positives, partition, self.displacement, mask)
        return -value, {'mutual_information': value, 'mutual_information_bound': _bound(mask)}


def _bound(mask: Mask) -> Float[Array, '']:
    """Log of one more than the places that count in other images, in the mean over the anchors that count."""
    own = jnp.sum(mask, axis=(1, 2), dtype=jnp.float32)
    return jnp.sum(own * jnp.log(1 + own.sum() - own)) / jnp.maximum(own.sum(), 1)


def log_partition(anchors: Maps, negatives: Keys, key_mask: KeyMask) -> Float[Array, 'batch height width']:
    """Log of the sum of e^score over all keys of *other images* that count, exact (supplement, section 3.2).

    Two places of one image are likely to show the same thing, so they are no negatives. Anchors go through in chunks of a few
    places of every image, whose scores are computed again in the backward pass: memory is a chunk's scores against all
    keys, where the full matrix has (batch x places)^2 entries.

    Under a mesh (`jax.set_mesh`) over which images are split each device gathers all keys once and sends their gradients back
    once; left to itself XLA would communicate in every chunk.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.manual_axes:
        return _log_partition(anchors, negatives, key_mask, jnp.arange(len(anchors)))
    (axis,) = mesh.axis_names

    def on_device(anchors, negatives, key_mask):
        images = jax.lax.axis_index(axis) * len(anchors) + jnp.arange(len(anchors))
        negatives, key_mask = (jax.lax.all_gather(keys, axis, tiled=True) for keys in (negatives, key_mask))
        return _log_partition(anchors, negatives, key_mask, images)

    return jax.shard_map(on_device, in_specs=PartitionSpec(axis), out_specs=PartitionSpec(axis))(anchors, negatives, key_mask)


def _log_partition(
    anchors: Maps, negatives: Keys, key_mask: KeyMask, images: Int[Array, 'batch']
) -> Float[Array, 'batch height width']:
    """`images` are the numbers of the anchors' images among those of the keys."""
    batch, height, width, depth = anchors.shape
    counts = key_mask[None] & (images[:, None] != jnp.arange(len(negatives))[None])[..., None]
    return _streamed(anchors.reshape(batch, height * width, depth), negatives, counts).reshape(batch, height, width)


@jax.custom_vjp
def _streamed(anchors: Places, negatives: Keys, counts: Bool[Array, 'batch images places']) -> Float[Array, 'batch positions']:
    """`_log_partition` of places in a row; `counts` says which keys do so for the anchors of an image.

    From the saved result the backward pass has softmax in one exponential; differentiated by JAX it would find the maximum and
    the sum of all scores again.
    """
    return _forward(anchors, negatives, counts)[0]


def _forward(anchors, negatives, counts):
    def of_chunk(queries):
        return jnp.maximum(jax.nn.logsumexp(_scores(queries, negatives, counts), axis=(2, 3)), _LOWEST)

    partition = _joined(jax.lax.map(of_chunk, _chunked(anchors)), anchors.shape[1])
    return partition, (anchors, negatives, counts, partition)


def _backward(saved, gradient):
    """The derivative of the logarithm by a score is the score's share in the sum."""
    anchors, negatives, counts, partition = saved

    def of_chunk(of_negatives, chunk):
        queries, partition, gradient = chunk
        shares = jnp.exp(_scores(queries, negatives, counts) - partition[..., None, None])
        # The gradient is a factor of whole rows, so that it can stay out of the large array.
        gradient = gradient[..., None]
        of_negatives += _product('bpd,bpkq->dkq', gradient * queries, shares)
        return of_negatives, gradient * _product('bpkq,kqd->bpd', shares, negatives)

    chunks = tuple(map(_chunked, (anchors, partition, gradient)))
    of_negatives, of_anchors = jax.lax.scan(of_chunk, jnp.zeros_like(jnp.moveaxis(negatives, 2, 0)), chunks)
    return _joined(of_anchors, anchors.shape[1]), jnp.moveaxis(of_negatives, 0, 2), None


_streamed.defvjp(_forward, _backward)


def _scores(queries, negatives, counts):
    """(batch, places, images, keys); -inf for keys that do not count."""
    return jnp.where(counts[:, None], _product('bpd,kqd->bpkq', queries, negatives), -jnp.inf)


def _product(subscripts: str, *operands: Array) -> Array:
    """In float32 everywhere: left to themselves, a GPU multiplies in TF32 and a TPU in bfloat16."""
    return jnp.einsum(subscripts, *operands, precision='highest')


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
    anchors: Maps, positives: Maps, partition: Float[Array, 'batch height width'], displacement: int, mask: Mask
) -> Float[Array, '']:
    """Mean of -log(e^s / (e^s + e^partition)) over anchors and displacements, s being the score of a positive pair.

    Pairs count where both places do; those that reach beyond the map do not. UserError if the window is larger than the map.
    """
    height, width = anchors.shape[1:3]
    displacements.check(displacement, height, width)
    window = 2 * displacement + 1
    around = ((0, 0), (displacement, displacement), (displacement, displacement))
    padded = jnp.pad(positives, (*around, (0, 0)))
    inside = jnp.pad(mask, around)

    @jax.checkpoint
    def add(totals, index):
        place = (0, index // window, index % window)
        shifted = jax.lax.dynamic_slice(padded, (*place, 0), positives.shape)
        counts = (mask & jax.lax.dynamic_slice(inside, place, mask.shape)).astype(jnp.float32)
        score = _product('bhwd,bhwd->bhw', anchors, shifted)
        total, count = totals
        return (total + jnp.sum(counts * jax.nn.softplus(partition - score)), count + counts.sum()), None

    (total, count), _ = jax.lax.scan(add, (0.0, 0.0), jnp.arange(window**2))
    return total / jnp.maximum(count, 1)
