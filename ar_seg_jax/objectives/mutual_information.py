"""Mutual information between two cluster maps, in nats (AC: Ouali et al. 2020, supplement Eqs. 3-6; IIC: Ji et al. 2019)."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from ar_seg_jax.interfaces import Remark
from ar_seg_jax.objectives import clustering, displacements

# Probabilities below this count as this in a logarithm: keeps gradients finite, changes MI by less than K^2 * 2e-9 nats.
_SMALLEST = 1e-10

Assignment = Float[Array, 'batch height width clusters']  # probabilities of the clusters at each pixel
Mask = Bool[Array, 'batch height width']  # True where a pixel counts
Joint = Float[Array, 'clusters clusters']


@dataclasses.dataclass(frozen=True)
class InformationLoss:
    """The negative mutual information of two cluster maps over displacements, and what to know about it.

    displacement: half-window T in pixels; pairs are up to T rows and T columns apart, (2T+1)^2 displacements.
    collapsed: average the joint over displacements, then take MI (supplement, Eq. 5). Otherwise take the MI of each
        displacement and average (the form of IIC's published runs).
    symmetric: average each joint with its transpose. The two views of AC have a random order, so that this changes no expected
        value. The second view of IIC is always the changed one; its code symmetrises all the same, as if either could be.
    entropy_weight: lambda on the marginal entropies; 1 is mutual information, more asks for evener clusters, less for fewer.
    entropy_target: in nats; of marginal entropies only what is below it counts. Ours, for classes of uneven size: mutual
        information ranks even clusters above them, however sharp and consistent they are. None, as the papers, has no limit.
    """

    displacement: int
    collapsed: bool
    symmetric: bool
    entropy_weight: float | Float[Array, '']
    entropy_target: float | None = None

    def __call__(
        self, p: Assignment, q: Assignment, mask: Mask | None = None
    ) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
        """The loss, and MI (nats, at most log K), H(y) and H(y|y') of it, as scalars."""
        form = joint_distribution if self.collapsed else joint_distributions
        joints = form(p, q, self.displacement, mask)
        joints = joints[None] if self.collapsed else joints
        if self.symmetric:
            joints = (joints + jnp.swapaxes(joints, 1, 2)) / 2
        each = jax.vmap(_information)(joints)
        information, rows, columns = map(jnp.mean, each)
        # -sum P (log P - lambda log p_i - lambda log p_j), written with the entropies of the marginals
        loss = -(information + (self.entropy_weight - 1) * (rows + columns))
        if self.entropy_target is not None:
            loss += self.entropy_weight * sum(jnp.mean(jnp.maximum(one - self.entropy_target, 0)) for one in each[1:])
        return loss, {
            'mutual_information': information,
            'mutual_information_bound': jnp.log(float(p.shape[-1])),
            'entropy': rows,
            'conditional_entropy': rows - information,
        }


def joint_distribution(p: Assignment, q: Assignment, displacement: int, mask: Mask | None = None) -> Joint:
    """Joint distribution of clusters at places up to `displacement` pixels apart (supplement, Eq. 5); sums to 1.

    Entry (k, l) is the mean of p_k(x) q_l(x + u) over images, pixels x and all displacements u of the window, outside the
    image nothing is counted. Summing q over the window first, a box filter, makes it one K x K product. Displacing the
    outputs rather than the inputs, as IIC does, differs from Eq. 5 at borders only and needs no further forward passes.
    `mask` applies to both places. Raises UserError if the window is larger than the image.
    """
    p, q = _masked(p, q, displacement, mask)
    return _normalised(_products(p, box_filter(q, displacement)))


def joint_distributions(
    p: Assignment, q: Assignment, displacement: int, mask: Mask | None = None
) -> Float[Array, 'displacements clusters clusters']:
    """Joint distribution for each of the (2T+1)^2 displacements, row by row; arguments as in `joint_distribution`.

    Sums over all displacements are a correlation of maps, and so a product of their spectra. The numbers are the same as those of
    one product for each displacement, which is (2T+1)^2 times the work, 441 times for T = 10, and as those of IIC's convolution
    whose kernels are as large as the image. In float32 the joint is exact to about 1e-7 of its sum.

    Under a mesh (`jax.set_mesh`) over which images are split devices sum the joints of their images; left to itself XLA would
    send the maps, since it does not divide Fourier transforms.
    """
    p, q = _masked(p, q, displacement, mask)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.manual_axes:
        return jax.vmap(_normalised)(_correlations(p, q, displacement))
    (axis,) = mesh.axis_names

    def on_device(p, q):
        return jax.lax.psum(_correlations(p, q, displacement), axis)

    sums = jax.shard_map(on_device, in_specs=PartitionSpec(axis), out_specs=PartitionSpec())(p, q)
    return jax.vmap(_normalised)(sums)


def _correlations(p: Assignment, q: Assignment, displacement: int) -> Float[Array, 'displacements clusters clusters']:
    """For each displacement u the sum of p_k(x) q_l(x + u) over images and pixels x; outside the maps is zero."""
    from scipy import fft  # a tenth of a second, which only a reach beyond neighbours is to wait for

    size = [fft.next_fast_len(length + displacement, real=True) for length in p.shape[1:3]]  # what wraps around is zero
    first, second = (jnp.fft.rfft2(jnp.moveaxis(maps, 3, 1), size) for maps in (p, q))
    spectrum = jnp.einsum('bkij,blij->klij', first.conj(), second, precision='highest')
    window = jnp.arange(-displacement, displacement + 1)
    sums = jnp.fft.irfft2(spectrum, size)[:, :, window][:, :, :, window]
    return jnp.maximum(jnp.moveaxis(sums, (0, 1), (2, 3)).reshape(-1, *sums.shape[:2]), 0)  # rounding can be below zero


def box_filter(x: Float[Array, 'batch height width channels'], radius: int) -> Float[Array, 'batch height width channels']:
    """Sum over the (2 radius + 1)^2 window around each pixel; outside the map is zero."""
    x = jnp.moveaxis(x, 3, 1)  # windows slide along the contiguous axis; a few clusters there would leave lanes idle
    for axis in (2, 3):
        window, padding = [1] * 4, [(0, 0)] * 4
        window[axis], padding[axis] = 2 * radius + 1, (radius, radius)
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 1, 1), padding)
    return jnp.moveaxis(x, 1, 3)


def mutual_information(joint: Joint) -> Float[Array, '']:
    """I(y; y') in nats of a joint distribution that sums to 1 (supplement, Eq. 6): between 0 and log K."""
    return _information(joint)[0]


def _information(joint: Joint) -> tuple[Float[Array, ''], Float[Array, ''], Float[Array, '']]:
    """Mutual information, and the entropies of the row and the column marginals."""
    rows, columns, both = (_entropy(p) for p in (joint.sum(1), joint.sum(0), joint))
    return rows + columns - both, rows, columns


def _entropy(p: Float[Array, '*shape']) -> Float[Array, '']:
    return -jnp.sum(p * jnp.log(jnp.maximum(p, _SMALLEST)))


def _masked(p: Assignment, q: Assignment, displacement: int, mask: Mask | None) -> tuple[Assignment, Assignment]:
    displacements.check(displacement, *p.shape[1:3])
    p, q = p.astype(jnp.float32), q.astype(jnp.float32)
    return (p, q) if mask is None else (p * mask[..., None], q * mask[..., None])


def _products(p: Assignment, q: Assignment) -> Joint:
    """Sums over all pixels. In float32 everywhere: left to themselves, a GPU multiplies in TF32 and a TPU in bfloat16."""
    return jnp.einsum('bhwk,bhwl->kl', p, q, precision='highest')


def _normalised(joint: Joint) -> Joint:
    """`joint` over its sum; a batch without a single counted pixel gives zeros, so MI 0 and no gradient."""
    return joint / jnp.maximum(joint.sum(), _SMALLEST)


def in_words(metrics: Mapping[str, float]) -> Remark:
    """What people should read of the metrics of `InformationLoss`."""
    information, bound, entropy = (metrics[name] for name in ('mutual_information', 'mutual_information_bound', 'entropy'))
    words = f"MI {information:.4f} of at most {bound:.4f} nats  H(y) {entropy:.3f}  H(y|y') {metrics['conditional_entropy']:.3f}"
    advice = 'another seed, a lower learning rate or an entropy weight above 1 (--config.method.entropy_weight)'
    return clustering.remark(words, entropy, bound, advice)
