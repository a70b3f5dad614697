"""What Doersch et al. 2015 and Isola et al. 2016 share as IIC adapted them: a pair of patches of features, and what it tells."""

import abc
import dataclasses
from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ar_seg_jax import parallel
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.augmentations.changes import Change
from ar_seg_jax.augmentations.inputs import Images
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Method, Metrics, Model, Outputs, Params, Remark, counted
from ar_seg_jax.methods import patch_places, readout
from ar_seg_jax.methods.patch_places import Offset, Pair
from ar_seg_jax.objectives import clustering

Locations = Literal['image', 'batch']


class Told(NamedTuple):
    """What the network tells of the pair of each image, what is true, and whether the pair counts."""

    logits: Float[Array, 'batch outputs']
    label: Int[Array, 'batch']
    counts: Bool[Array, 'batch']


@dataclasses.dataclass(frozen=True)
class PatchPairs(Method):
    """Tells from two patches of the features, at the resolution of the image, how they lie to one another.

    The features of an image are interpolated to its pixels; of these two patches are cut, and a comparator is trained to say a
    label that follows from their places, as in the released code of IIC (Ji et al. 2019). What is learned is the network below
    it, whose features are clustered by k-means for evaluation. IIC's code gives k-means a single vector of each batch, many
    times over, since it draws one number where it wants as many as there are pixels; here vectors at many places of some training
    batches are drawn, see `readout.by_k_means`, and there is no other way.

    chance: share of the pairs that are told by guessing.
    model: its features are what is compared; it needs no heads. comparator: see `models.patch_comparator`.
    patch: side of the patches in pixels, 11 in IIC; all distances are in patches.
    locations: 'image' draws a pair for each image, as the papers of both methods do. 'batch' draws one for all images of a step,
        as IIC's code does, whose images then all have the same label.
    change: of the images that are learned from; masks are flipped as their images are.
    sobel: append the Sobel gradients of the grey image, as IIC does on COCO-Stuff; to images that are predicted too.
    An image counts if the pixel at either centre does; the loss is the mean over these. With the mask of IIC an image counts
    where a centre is of the classes of interest.
    """

    chance: ClassVar[float]

    model: Model
    comparator: nn.Module
    num_clusters: int
    patch: int
    locations: Locations
    change: Change
    sobel: bool

    def __post_init__(self):
        if self.patch < 3 or self.patch % 2 == 0:
            raise UserError(f'method.patch is an odd number of pixels, at least 3; found {self.patch}')

    @abc.abstractmethod
    def propose(self, pair_key: Key[Array, ''], key: Key[Array, ''], size: patch_places.Size) -> tuple[Offset, Int[Array, '']]:
        """The offset in pixels of the other patch, and the label. `pair_key` is the same for all tries of a pair."""

    @abc.abstractmethod
    def losses(self, told: Told) -> tuple[Float[Array, 'batch'], Bool[Array, 'batch']]:
        """For each image: minus the log likelihood of the label in nats, and whether it is the likeliest."""

    def shown(self, key: Key[Array, ''], extra: Extra, image: Images) -> Images:
        """What is shown of images in [0, 1] in training, once their gradients are taken."""
        return image

    @property
    def reach(self) -> int | None:
        return None if self.model.reach is None else self.model.reach + self.sobel

    def check(self, image_shape, micro_batches):
        shorter = min(image_shape[1:3])
        if shorter < patch_places.SMALLEST * self.patch:
            raise UserError(
                f'two patches need images of {patch_places.SMALLEST} times method.patch, {patch_places.SMALLEST * self.patch} '
                f'pixels; found {shorter}: enlarge pipeline.crop_size or choose a smaller method.patch'
            )

    def init(self, key, image):
        network = self.model.init(key, self._input(inputs.to_unit(image)))
        channels = jax.eval_shape(self.model.apply, network, self._input(inputs.to_unit(image)))['features'].shape[-1]
        blank = jnp.zeros((1, self.patch, self.patch, channels))
        comparator = self.comparator.init(jax.random.fold_in(key, 1), blank, blank)
        params = {'network': network['params'], 'comparator': comparator['params']}
        statistics = {'network': network.get(BATCH_STATS, {}), 'comparator': comparator.get(BATCH_STATS, {})}
        return params, {BATCH_STATS: statistics, 'centroids': jnp.zeros((self.num_clusters, channels))}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0) -> tuple[Told, Extra]:
        change_key, show_key, dropout_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 0), part), 3)
        image, move = self.change(inputs.to_unit(batch['image']), change_key)
        mask = move.apply(jnp.asarray(counted(batch))[..., None])[..., 0]
        seen = self._input(image, self.shown(show_key, extra, image))
        variables = {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}
        network_key, comparator_key = jax.random.split(dropout_key)
        options = {'train': True, 'mutable': [BATCH_STATS]}
        maps, network = self.model.apply(variables, seen, rngs={'dropout': network_key}, **options)

        pair = self.pairs(jax.random.fold_in(key, 1), part, image.shape[:3])
        patches = (
            patch_places.take(self.model.to_pixels, maps['features'], image.shape[1:3], centres, self.patch)
            for centres in (pair.first, pair.second)
        )
        variables = {'params': params['comparator'], BATCH_STATS: extra[BATCH_STATS]['comparator']}
        logits, comparator = self.comparator.apply(variables, *patches, rngs={'dropout': comparator_key}, **options)
        statistics = {'network': network.get(BATCH_STATS, {}), 'comparator': comparator.get(BATCH_STATS, {})}
        return Told(logits, pair.label, _either(mask, pair)), {**extra, BATCH_STATS: statistics}

    def pairs(self, key: Key[Array, ''], part: int | Array, shape: tuple[int, int, int]) -> Pair:
        """The pairs of images of this shape, (batch, height, width)."""
        batch, size = shape[0], shape[1:]

        def pair(key):
            return patch_places.draw(key, size, self.patch, lambda pair_key, key: self.propose(pair_key, key, size))

        if self.locations == 'batch':
            return jax.tree.map(lambda array: jnp.broadcast_to(array[None], (batch, *array.shape)), pair(key))
        return jax.vmap(pair)(parallel.keys(jax.random.fold_in(key, part), batch))

    def objective(self, outputs: Told, batch: Batch, *, time: Time) -> tuple[jax.Array, Metrics]:
        losses, right = self.losses(outputs)
        total = jnp.maximum(outputs.counts.sum(), 1)
        loss, share = (jnp.sum(jnp.where(outputs.counts, values, 0)) / total for values in (losses, right))
        return loss, {'pairs_told': share}

    def readout(self, params: Params, extra: Extra, batches, *, key) -> Extra:
        return readout.by_k_means(self, params, extra, batches, key=key)

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        variables = {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}
        features = self.model.apply(variables, self._input(inputs.to_unit(image)))['features'].astype(jnp.float32)
        nearness = clustering.nearness(extra['centroids'], features)  # linear in the maps, so interpolation may follow
        scores = nn.softmax(self.to_pixels(nearness, *image.shape[1:3]))
        return Outputs(scores=scores, features=features, logits=features)

    def describe(self, metrics):
        return Remark(f'{metrics["pairs_told"]:.1%} of pairs told, {self.chance:.1%} by chance')

    def _input(self, image: Images, shown: Images | None = None) -> Float[Array, 'batch height width inputs']:
        """The input of the model: what is shown of an image, normalised, and the gradients of the image itself."""
        seen = self.model.normalisation.apply(image if shown is None else shown)
        return inputs.append_sobel(seen, image) if self.sobel else seen


def _either(mask: Bool[Array, 'batch height width'], pair: Pair) -> Bool[Array, 'batch']:
    """Whether one of the pixels at the two centres counts."""
    return jax.vmap(lambda one, first, second: one[tuple(first)] | one[tuple(second)])(mask, pair.first, pair.second)
