"""AST: an image is explained by its background and by K objects, which attention finds."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, UInt8

from ar_seg_jax.augmentations import inputs
from ar_seg_jax.epochs import Cadence, Phase
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Method, Metrics, Model, Outputs, Params, Remark, Size, counted, sides
from ar_seg_jax.methods import clusters
from ar_seg_jax.models import background as backgrounds
from ar_seg_jax.models import glimpses, slots
from ar_seg_jax.models.background import Autoencoder, LearnedImage
from ar_seg_jax.models.glimpses import Composite, GlimpseGenerator
from ar_seg_jax.models.slots import Grid, Slots, SlotTransformer
from ar_seg_jax.objectives import scenes

Scenario = Literal['BT', 'frozen', 'CT']
Stage = Literal['background', 'foreground', 'joint']

_ATTENTION, _APPEARANCE = 'attention', 'appearance'
_BACKGROUND, _NETWORK, _SLOTS, _GLIMPSES, _RIVAL = 'background', 'network', 'slots', 'glimpses', 'background_activation'
_MEDIAN_OF = 400  # images
_FAINT = 3  # how much lower than the background's activation the mean of the slots' is where nothing may ever appear


@dataclasses.dataclass(frozen=True)
class AST(Method):
    """Attention, soft-argmax and a transformer find objects, which a composition of glimpses draws (Sauvalle and de La Fortelle).

    The network gives an attention map for each slot, and what there is to see in each cell. A transformer over slots turns the
    mean of places and of that, weighted by the attention, into a place, a scale, an activation and an appearance of each slot
    (`models.slots`). The appearance becomes a glimpse, put at its place (`models.glimpses`) over the background
    (`models.background`). Cluster 0 is the background and cluster k slot k; scores are their shares in each pixel.

    The loss is that of the reconstruction and `entropy_weight` times that of the pixels' entropies; the weight grows with the
    square of the steps over the first `entropy_steps`, which are counted from the end of the background's phase on.

    size: height and width of the images, in pixels.
    scales: 1 (the same along both sides) or 2, from `smallest_scale` to `largest_scale`; 3 is a third of the image.
    rival: the logit with which the background's activation begins, and with which the slots compete; pixelwise: with another one,
        0 at first, for each pixel (for videos).
    scenario: 'CT' (curriculum) trains the background alone for `background_steps`, then the foreground for `frozen_steps`, then
        all of it. 'frozen' never comes to the last part. 'BT' trains all of it from the beginning, by the loss of the foreground.
        A frozen background is computed in each step, where the released code reads images of 8 bits.
    smallest_object: share of an image, 0 to 1. In predictions, slots with fewer pixels lose them to the next best, mostly the
        background; by 0, as in the paper, none do. Ours, since a speck weighs as much in the mean IoU as an object.
    stage: of the training, which `during` sets.

    A background that is a single image ('image') begins with the median of some training images where it has a phase of its own.
    """

    title = 'AST'

    model: Model
    transformer: SlotTransformer
    generator: GlimpseGenerator
    scene: Autoencoder | LearnedImage
    num_clusters: int
    size: tuple[int, int]
    grid: Grid
    scales: int
    smallest_scale: float
    largest_scale: float
    rival: float
    pixelwise: bool
    entropy_weight: float
    entropy_steps: int
    scenario: Scenario
    background_steps: int
    frozen_steps: int
    smallest_object: float
    stage: Stage = 'joint'

    loss_in_words = (
        'the error of the background, weighted by how well it is explained, in its phase; then the mean squared error of the '
        'reconstruction, whose colours are summed, and a share of the squared entropy of the pixels'
    )

    def __post_init__(self):
        if self.scales not in (1, 2):
            raise UserError(f'method.scales is 1 or 2, found {self.scales}')
        if not 0 < self.smallest_scale < self.largest_scale:
            raise UserError(
                f'method.smallest_scale is above 0 and below method.largest_scale, found {self.smallest_scale} and '
                f'{self.largest_scale}'
            )
        if not 0 <= self.smallest_object < 1:
            raise UserError(f'method.smallest_object is a share of an image, from 0 to below 1; found {self.smallest_object}')
        for name in ('entropy_steps', 'background_steps', 'frozen_steps'):
            if getattr(self, name) < 0:
                raise UserError(f'method.{name} is a number of steps, at least 0; found {getattr(self, name)}')

    @property
    def image_size(self) -> tuple[int, int]:
        return self.size

    @property
    def phases(self) -> tuple[Phase, ...]:
        background_steps, frozen_steps = (0, 0) if self.scenario == 'BT' else (self.background_steps, self.frozen_steps)
        foreground = (_NETWORK, *([_SLOTS] if self.transformer.depth else []), _GLIMPSES, _RIVAL)
        alone = (Phase('background', 0, foreground), Phase('foreground', background_steps, (_BACKGROUND,)))
        return alone if self.scenario == 'frozen' else (*alone, Phase('joint', background_steps + frozen_steps))

    @property
    def refresh_when(self) -> Cadence | None:
        return Cadence(0) if isinstance(self.scene, LearnedImage) and self.scenario != 'BT' else None

    def during(self, phase: Phase | None) -> 'AST':
        return self if phase is None else dataclasses.replace(self, stage=phase.name)

    def check(self, image_shape, micro_batches):
        self._check_size(image_shape)

    def init(self, key, image):
        keys = jax.random.split(key, 4)
        network = self.model.init(keys[0], inputs.model_input(self.model, image))
        channels = self.model.heads[_APPEARANCE]
        parts = {
            _BACKGROUND: self.scene.init(keys[1], image.astype(jnp.float32)),
            _NETWORK: network,
            _SLOTS: self.transformer.init(keys[2], jnp.zeros((1, self.num_clusters - 1, channels + 2))),
            _GLIMPSES: self.generator.init(keys[3], jnp.zeros((1, channels - 1 - self.scales))),
        }
        params = {name: part['params'] for name, part in parts.items() if part}
        rival = {'logit': jnp.full((), self.rival)}
        if self.pixelwise:
            rival |= {'pixels': jnp.zeros(self.size)}
        return {**params, _RIVAL: rival}, {BATCH_STATS: {_NETWORK: network.get(BATCH_STATS, {})}}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        image, counts = batch['image'], counted(batch)
        if self.stage == 'background':
            behind = self._behind(params, image)
            return {'background': scenes.background(image.astype(jnp.float32), behind, counts)}, extra
        if self.stage == 'foreground':
            params = {**params, _BACKGROUND: jax.lax.stop_gradient(params[_BACKGROUND])}
        network_key, slots_key = jax.random.split(jax.random.fold_in(key, part))
        maps, updated = self.model.apply(
            {'params': params[_NETWORK], BATCH_STATS: extra[BATCH_STATS][_NETWORK]},
            inputs.model_input(self.model, image),
            train=True,
            mutable=[BATCH_STATS],
            rngs={'dropout': network_key},
        )
        found = self._slots(params, maps, train=True, rngs={'dropout': slots_key})
        _, drawn = self._drawn(params, found, self._behind(params, image))
        outputs = {
            'reconstruction': scenes.reconstruction(inputs.to_unit(image), jnp.moveaxis(drawn.image, 1, -1), counts),
            'entropy': scenes.entropy(drawn.weights, counts),
            'activation': found.activation.mean(axis=1) - self.rival,
            'foreground': jnp.mean(1 - drawn.weights[:, 0], axis=(1, 2)),
        }
        return outputs, {**extra, BATCH_STATS: {_NETWORK: updated.get(BATCH_STATS, {})}}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        if self.stage == 'background':
            return outputs['background'].mean(), {}
        done = time.step - (0 if self.scenario == 'BT' else self.background_steps)
        ramp = jnp.minimum(done / self.entropy_steps, 1) ** 2 if self.entropy_steps else jnp.ones(())
        reconstruction, entropy = outputs['reconstruction'].mean(), outputs['entropy'].mean()
        metrics = {
            'reconstruction': reconstruction,
            'entropy': entropy,
            'entropy_ramp': ramp,
            'activation': outputs['activation'].mean(),
            'foreground': outputs['foreground'].mean(),
        }
        return reconstruction + self.entropy_weight * ramp * entropy, metrics

    def refresh(self, params: Params, extra: Extra, batches: Iterator[Batch], *, key, time) -> tuple[Params, Extra]:
        """Once, before the phase of a background that is a single image: it begins with the median of some images."""
        if not self.refresh_when:
            return params, extra
        logits = params[_BACKGROUND]['logits']
        found = jax.device_put(_logits_of_median(batches), logits.sharding)
        return {**params, _BACKGROUND: {'logits': logits.at[..., :3].set(found)}}, extra

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        self._check_size(image.shape)
        variables = {'params': params[_NETWORK], BATCH_STATS: extra[BATCH_STATS][_NETWORK]}
        maps = self.model.apply(variables, inputs.model_input(self.model, image))
        found, behind = self._slots(params, maps), self._behind(params, image)
        pictures, drawn = self._drawn(params, found, behind)
        return Outputs(
            scores=without_specks(jnp.moveaxis(drawn.weights, 1, -1), self.smallest_object),
            features=maps[_APPEARANCE],
            logits=maps[_ATTENTION],
            reconstruction=jnp.moveaxis(drawn.image, 1, -1),
            background=behind[..., :3] / 255,
            glimpses=pictures,
            places=found.places,
        )

    def describe(self, metrics):
        if 'reconstruction' not in metrics:
            return Remark('background')
        words = (
            f'reconstruction {metrics["reconstruction"]:.4f}  entropy {metrics["entropy"]:.4f}  '
            f'foreground {metrics["foreground"]:.1%}  activation {metrics["activation"]:+.1f}'
        )
        if not (self.entropy_steps and metrics['entropy_ramp'] == 1 and metrics['activation'] <= -_FAINT):
            return Remark(words)
        return Remark(
            words,
            f'The activation of the slots is {-metrics["activation"]:.1f} below that of the background, and objects may never '
            'appear. Try a lower learning rate, a longer warm-up, or a lower method.largest_scale, so that glimpses are larger.',
        )

    def _behind(self, params: Params, image: UInt8[Array, 'batch height width 3']) -> Float[Array, 'batch height width 4']:
        return self.scene.apply({'params': params[_BACKGROUND]}, image.astype(jnp.float32))

    def _slots(self, params: Params, maps, **options) -> Slots:
        latents = slots.soft_argmax(maps[_ATTENTION], maps[_APPEARANCE], self.grid)
        latents = self.transformer.apply({'params': params.get(_SLOTS, {})}, latents, **options)
        return slots.split(latents, self.scales, self.smallest_scale, self.largest_scale)

    def _drawn(
        self, params: Params, found: Slots, behind: Float[Array, 'batch height width 4']
    ) -> tuple[Float[Array, 'batch slots glimpse_height glimpse_width 4'], Composite]:
        """The glimpses, and the image that they make with the background."""
        pictures = self.generator.apply({'params': params[_GLIMPSES]}, found.appearance)
        placed = glimpses.place(pictures, found.places, *self.size)
        rival = params[_RIVAL]['logit'] + params[_RIVAL].get('pixels', jnp.zeros(self.size))
        return pictures, glimpses.composite(placed, found.activation, jnp.moveaxis(behind[..., :3] / 255, -1, 1), rival)

    def _check_size(self, image_shape):
        if image_shape[1:] != (*self.size, 3):
            height, width, channels = image_shape[1:]
            raise UserError(
                f'AST is made for RGB images of {self.size[1]} x {self.size[0]} pixels (method.image_size), found '
                f'{width} x {height} with {channels} channels; set method.image_size and pipeline.crop_size to the same size'
            )


def without_specks(
    shares: Float[Array, 'batch height width clusters'], smallest: float
) -> Float[Array, 'batch height width clusters']:
    """Shares of the background and of slots in each pixel, without slots that have the largest in less than `smallest` of the
    image; what is left of a pixel sums to 1 again."""
    if not smallest:
        return shares
    area = jnp.mean(jax.nn.one_hot(shares.argmax(-1), shares.shape[-1]), axis=(1, 2))
    kept = (area >= smallest).at[:, 0].set(True)
    shares = jnp.where(kept[:, None, None], shares, 0)
    return shares / jnp.maximum(shares.sum(-1, keepdims=True), jnp.finfo(shares.dtype).tiny)


def _logits_of_median(batches: Iterator[Batch]) -> np.ndarray:
    """Of each pixel and colour the median of the first images, as what a sigmoid is taken of; (height, width, 3)."""
    images: list[np.ndarray] = []
    for batch in batches:
        images.extend(np.asarray(multihost_utils.process_allgather(batch['image'], tiled=True)))
        if len(images) >= _MEDIAN_OF:
            break
    share = np.clip(np.median(images[:_MEDIAN_OF], axis=0), 0.5, 254.5) / 255
    return np.log(share / (1 - share)).astype(np.float32)


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    width: int,
    scales: int,
    smallest_scale: float,
    largest_scale: float,
    image_size: Size,
    glimpse_size: int,
    attention_grid: Grid,
    transformer_depth: int,
    transformer_width: int,
    transformer_heads: int,
    transformer_feedforward: int,
    dropout: float,
    background: backgrounds.Kind,
    background_activation: float,
    background_activation_map: bool,
    entropy_weight: float,
    entropy_steps: int,
    scenario: Scenario,
    background_steps: int,
    frozen_steps: int,
    smallest_object: float,
) -> AST:
    """From the options of config.method; see `AST`, `SlotTransformer`, `GlimpseGenerator`, `soft_argmax` and `models.background`.

    width: numbers of an appearance.
    """
    clusters.check(num_clusters)
    if width < 1:
        raise UserError(f'method.width is at least 1, found {width}')
    if glimpse_size < 8 or glimpse_size & (glimpse_size - 1):
        raise UserError(f'method.glimpse_size is a power of two from 8 on, found {glimpse_size}')
    if transformer_depth and (transformer_heads < 1 or transformer_width % transformer_heads):
        raise UserError(
            f'method.transformer_width is a multiple of method.transformer_heads, found {transformer_width} and '
            f'{transformer_heads}'
        )
    size = sides(image_size, 'method.image_size')
    model = make_model(heads={_ATTENTION: num_clusters - 1, _APPEARANCE: width + 1 + scales})
    return AST(
        model,
        SlotTransformer(transformer_depth, transformer_width, transformer_heads, transformer_feedforward, dropout, model.dtype),
        GlimpseGenerator(glimpse_size, model.dtype),
        backgrounds.background(background, size, model.dtype),
        num_clusters,
        size,
        attention_grid,
        scales,
        smallest_scale,
        largest_scale,
        background_activation,
        background_activation_map,
        entropy_weight,
        entropy_steps,
        scenario,
        background_steps,
        frozen_steps,
        smallest_object,
    )
