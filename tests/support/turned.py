"""A method with all that a method may have or leave out: it has refreshes, and neither clusters nor words for people."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from ar_seg_jax import parallel
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.epochs import Cadence
from ar_seg_jax.interfaces import Method, Model, Outputs


@dataclasses.dataclass(frozen=True)
class Turned(Method):
    """Tells which images stand on their heads from the mean of their features, each epoch by a new head and with a new bias."""

    title = 'Turned'
    loss_in_words = 'the cross-entropy of whether an image was turned, in nats'
    num_clusters = 0
    refresh_when = Cadence()
    restarted = ('head',)

    model: Model

    def init(self, key, image):
        maps, variables = self.model.init_with_output(key, inputs.model_input(self.model, image))
        return {'network': variables['params'], 'head': jnp.zeros(maps['features'].shape[-1])}, {'bias': jnp.zeros(())}

    def forward(self, params, extra, batch, *, key, time, part=0):
        image = inputs.model_input(self.model, batch['image'])
        keys = parallel.keys(jax.random.fold_in(key, part), len(image))
        turned = jax.vmap(jax.random.bernoulli)(keys).astype(jnp.float32)
        image = jnp.where(turned[:, None, None, None] > 0, image[:, ::-1], image)
        features = self.model.apply({'params': params['network']}, image, train=True)['features'].mean((1, 2))
        return {'found': features @ params['head'] + extra['bias'], 'turned': turned}, extra

    def objective(self, outputs, batch, *, time):
        return optax.sigmoid_binary_cross_entropy(outputs['found'], outputs['turned']).mean(), {}

    def refresh(self, params, extra, batches, *, key, time):
        brightness = [batch['image'].mean() / 255 for batch in batches]
        return {**params, 'head': jax.random.normal(key, params['head'].shape)}, {'bias': sum(brightness) / len(brightness)}

    def predict(self, params, extra, image):
        maps = self.model.apply({'params': params['network']}, inputs.model_input(self.model, image))
        return Outputs(features=maps['features'])


def build(make_model) -> Turned:
    """It has no options."""
    return Turned(make_model(heads={}))
