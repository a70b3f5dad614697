"""SmooSeg: clusters of the features of a frozen encoder that are smooth where these are alike."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ar_seg_jax import parallel
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Extra, Metrics, Model, Outputs, Params, Remark
from ar_seg_jax.methods import clusters, frozen
from ar_seg_jax.methods.frozen import FrozenEncoder, Upsampling
from ar_seg_jax.models.projector import Projector
from ar_seg_jax.objectives import clustering, labels, smoothness
from ar_seg_jax.objectives.smoothness import Moments

_TEACHER = 'teacher'


@dataclasses.dataclass(frozen=True)
class SmooSeg(FrozenEncoder):
    """Minimises the energy of clusters of places (Lan, Wang, Wen, Liu, Xu and Wu 2023).

    A smoothness term, within each image and between two, of the probabilities that a teacher gives trains the projector, see
    `objectives.smoothness`; a data term, the cross-entropy of the student's cosines with the teacher's clusters, trains the
    prototypes of the student alone.

    The teacher's prototypes are the moving average of the student's; the projector is one and the same. Predictions are the
    teacher's.

    within, between: the shifts of the two parts of the smoothness term, which decide what counts as alike. Published ones are
        -0.02 and 0.5 (Cityscapes) or 0.48 (COCO-Stuff) for DINO's ViT-S/8, and 0.1 and 0.5 (Potsdam) for its ViT-B/8.
    decay: what is left of the teacher after a step.

    Each image is compared with the next one of the batch. The released code draws the other one, which is as random where batches
    are drawn anew in each epoch, as they are. It has no temperature in the data term, and so it is here. It keeps the checkpoint
    of the highest mIoU on labels of val; here it is the last one.
    """

    title = 'SmooSeg'
    loss_in_words = 'the smoothness of clusters within and between images, plus the cross-entropy of those of the teacher in nats'

    within: float
    between: float
    decay: float

    def __post_init__(self):
        super().__post_init__()
        for name in ('within', 'between'):
            if not math.isfinite(getattr(self, name)):
                raise UserError(f'method.{name} is a number, such as 0.5; found {getattr(self, name)}')
        if not 0 <= self.decay <= 1:
            raise UserError(f'method.decay is 0 to 1, found {self.decay}')

    def init(self, key, image):
        params, extra = super().init(key, image)
        prototypes = clustering.unit(params['prototypes'])
        return {**params, 'prototypes': prototypes}, {**extra, _TEACHER: prototypes}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        teacher, student = extra[_TEACHER], params['prototypes']
        features = self.seen(params, extra, batch)
        code, features = self.project(params, features, jax.random.fold_in(key, part))
        counted = self.counted(batch, code)
        likeness = frozen.cosines(teacher, code)
        probabilities = jax.nn.softmax(likeness / self.temperature)
        learned = frozen.cosines(student, jax.lax.stop_gradient(code))
        found = labels.cross_entropy(learned, jnp.argmax(likeness, axis=-1), jnp.ones(self.num_clusters), counted)
        outputs = {
            'moments': Moments.of_maps(features, probabilities, counted),
            'cross_entropy': found,
            'shares': jnp.sum(probabilities * counted[..., None], (1, 2)),
        }
        # Before the step, as in the released code: a step's gradient reaches the teacher with the next one.
        learned_so_far = parallel.same(jax.lax.stop_gradient(student))
        return outputs, {**extra, _TEACHER: self.decay * teacher + (1 - self.decay) * learned_so_far}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        moments = outputs['moments']
        others = jax.tree.map(lambda leaf: jnp.roll(leaf, -1, axis=0), moments)
        parts = {
            'within': smoothness.energy(moments, moments, self.within),
            'between': smoothness.energy(moments, others, self.between),
            'cross_entropy': outputs['cross_entropy'].mean(),
        }
        return sum(parts.values()), parts | clustering.evenness(outputs['shares'].sum(0))

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        return self.predicted(params, extra, image, extra[_TEACHER])

    def describe(self, metrics) -> Remark:
        entropy, bound = metrics['entropy'], metrics['entropy_bound']
        words = (
            f'within {metrics["within"]:.4f}  between {metrics["between"]:.4f}  H(y) {entropy:.3f} of at most {bound:.3f} nats'
        )
        return clustering.remark(words, entropy, bound, 'another seed or a larger shift (--config.method.between)')


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    width: int,
    dropout: float,
    temperature: float,
    upsampling: Upsampling,
    cached: bool,
    within: float,
    between: float,
    decay: float,
) -> SmooSeg:
    """From the options of config.method; see `SmooSeg`, `FrozenEncoder` and `Projector`."""
    clusters.check(num_clusters)
    frozen.check_projector(width, dropout)
    model = make_model(heads={})
    projector = Projector(width, 'silu', dropout, model.dtype)
    return SmooSeg(model, projector, num_clusters, temperature, upsampling, cached, within, between, decay)
