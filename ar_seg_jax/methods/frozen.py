"""What SmooSeg and STEGO share: a small head on the features of an encoder that is not trained, and prototypes of clusters."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, UInt8

from ar_seg_jax.augmentations import inputs
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Encoder, Extra, Method, Model, Outputs, Params
from ar_seg_jax.methods import upsampling as upsamplers
from ar_seg_jax.methods import void
from ar_seg_jax.models.projector import Projector
from ar_seg_jax.objectives import clustering

Images = UInt8[Array, 'batch height width channels']
Maps = Float[Array, 'batch map_height map_width _']
Prototypes = Float[Array, 'clusters code_width']
Variables = Mapping[str, Any]
Upsampling = Literal['bilinear', 'bilateral']

_SMALLEST_LENGTH = 1e-6  # of a code at a pixel


@dataclasses.dataclass(frozen=True)
class FrozenEncoder(Method):
    """A method that trains a head on an encoder which stays as it is.

    model: the encoder. It is looked at as in inference and gets no gradient; config.frozen should name 'network', which keeps
        weight decay and moments from it too.
    cached: the encoder sees each training image once, whole, and what it gives is kept beside the prepared data, in half
        precision. Crops then begin between its cells, which have seen all of the image. Else it sees each crop in each step.
    projector: from its features to the code.
    temperature: by which the cosines of the code and the prototypes are divided before the softmax.
    upsampling: how scores come from cells to pixels: 'bilinear', or 'bilateral', by the colours of the image too, see
        `upsampling.bilateral`. Of predictions only; features and logits, which probes see, are interpolated in any case.

    At a pixel the cosines are those of the interpolated code, as in the released code of both methods, but for one factor: they
    are interpolated from the cells as products, and divided by the interpolated length of the code, not by the length of the
    interpolated one. So the cluster of a pixel is the same, the code need not be as large as the image, and its scores are a
    little less sure where neighbouring cells differ.
    """

    model: Model
    projector: Projector
    num_clusters: int
    temperature: float
    upsampling: Upsampling
    cached: bool

    def __post_init__(self):
        if not self.temperature > 0:
            raise UserError(f'method.temperature is above 0, found {self.temperature}')

    @property
    def fixed(self) -> tuple[str, ...]:
        return ('network',) if self.cached else ()

    @property
    def reach(self) -> int | None:
        if self.upsampling == 'bilinear' or self.model.reach is None:
            return self.model.reach
        return self.model.reach + upsamplers.reach(self.model.output_stride)

    def check(self, image_shape, micro_batches):
        if self.upsampling == 'bilateral' and self.model.first_cell is None:
            raise UserError(
                "method.upsampling 'bilateral' needs a model whose cells lie on a regular grid of pixels, but the maps of this "
                "one are stretched over the image; choose another model, set model.geometry to 'aligned', or take 'bilinear'"
            )
        if self.cached:
            self._check_cells(*image_shape[1:3])
        if image_shape[0] < 2:
            raise UserError(
                f'{self.title} compares images of a batch, which has at least 2; found --config.pipeline.batch_size=1'
            )

    def init(self, key, image):
        network_key, projector_key, prototypes_key = jax.random.split(key, 3)
        maps, variables = self.model.init_with_output(network_key, inputs.model_input(self.model, image))
        projector = self.projector.init(projector_key, jnp.zeros((1, 1, 1, maps['features'].shape[-1])))
        prototypes = jax.random.normal(prototypes_key, (self.num_clusters, self.projector.width))
        params = {'network': variables.get('params', {}), 'projector': projector['params'], 'prototypes': prototypes}
        return params, {BATCH_STATS: {'network': variables.get(BATCH_STATS, {})}}

    def encoder(self, params, extra):
        if not self.cached:
            return None
        variables = jax.device_get(_variables(params, extra))
        # On one device of this process, since one of several processes may encode while the others wait.
        own = jax.device_put(variables, jax.local_devices()[0])
        encode = jax.jit(lambda variables, image: self._encoded(variables, image).astype(jnp.float16))
        return Encoder(_digest(self.model, variables), self.model.output_stride, lambda image: np.asarray(encode(own, image)))

    def seen(self, params: Params, extra: Extra, batch: Batch) -> Maps:
        """The features of a batch of training, float32."""
        if 'encoded' in batch:
            return batch['encoded'].astype(jnp.float32)
        return self.features(params, extra, batch['image'])

    def features(self, params: Params, extra: Extra, image: Images) -> Maps:
        """Of the encoder, float32, without a gradient."""
        return jax.lax.stop_gradient(self._encoded(jax.lax.stop_gradient(_variables(params, extra)), image))

    def project(self, params: Params, features: Maps, key: Key[Array, '']) -> tuple[Maps, Maps]:
        """The code in training, and the features as the loss sees them; `key` is that of dropout."""
        return self.projector.apply({'params': params['projector']}, features, train=True, rngs={'dropout': key})

    def counted(self, batch: Batch, maps: Maps) -> Bool[Array, 'batch map_height map_width']:
        """Which cells count."""
        return void.at_cells(batch, *maps.shape[1:3], self.first_cell)

    def predicted(self, params: Params, extra: Extra, image: Images, prototypes: Prototypes) -> Outputs:
        """By the prototypes of any length; logits are the code."""
        features = self.features(params, extra, image)
        code, _ = self.projector.apply({'params': params['projector']}, features)
        lengths = jnp.linalg.norm(code, axis=-1, keepdims=True)
        maps = jnp.concatenate([clustering.products(clustering.unit(prototypes), code), lengths], axis=-1)
        maps = self._at_pixels(maps, image)
        found = maps[..., :-1] / jnp.maximum(maps[..., -1:], _SMALLEST_LENGTH)
        return Outputs(scores=jax.nn.softmax(found / self.temperature), features=features, logits=code)

    def _encoded(self, variables: Variables, image: Images) -> Maps:
        return self.model.apply(variables, inputs.model_input(self.model, image))['features'].astype(jnp.float32)

    def _check_cells(self, height: int, width: int):
        """UserError unless crops of images have cells of their own."""
        stride = self.model.output_stride
        if self.model.first_cell != (stride - 1) / 2:
            raise UserError(
                'method.cached needs an encoder of which each cell is a square of pixels, such as a ViT; choose one, or set '
                'method.cached to False'
            )
        if height % stride or width % stride:
            raise UserError(
                f'method.cached cuts crops between the cells of the encoder, of {stride} pixels: set pipeline.crop_size to a '
                f'multiple of them, or method.cached to False; found {height} x {width}'
            )

    def _at_pixels(self, maps: Maps, image: Images) -> Float[Array, 'batch height width _']:
        if self.upsampling == 'bilinear':
            return self.to_pixels(maps, *image.shape[1:3])
        return upsamplers.bilateral(maps, inputs.to_unit(image), self.model.output_stride, self.model.first_cell)


def _variables(params: Params, extra: Extra) -> Variables:
    return {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}


def _digest(model: Model, variables: Variables) -> str:
    """Of all that features depend on."""
    digest = hashlib.sha256(repr(model).encode())
    for path, leaf in jax.tree.leaves_with_path(variables):
        digest.update(f'{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}'.encode())
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()[:12]


def cosines(prototypes: Prototypes, code: Maps) -> Float[Array, 'batch map_height map_width clusters']:
    """Of the code of each cell and each prototype."""
    return clustering.products(clustering.unit(prototypes), clustering.unit(code))


def check_projector(width: int, dropout: float):
    """UserError for a head that cannot be."""
    if not 2 <= width <= 4096:
        raise UserError(f'method.width is 2 to 4096, found {width}')
    if not 0 <= dropout < 1:
        raise UserError(f'method.dropout is a share of channels, at least 0 and less than 1; found {dropout}')
