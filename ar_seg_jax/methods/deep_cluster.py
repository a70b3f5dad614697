"""DeepCluster for pixels: the network learns to tell the clusters of its own features apart."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Metrics, Model, Outputs, Params
from ar_seg_jax.methods import clusters, pseudo_labels
from ar_seg_jax.methods.pseudo_labels import PseudoLabelled, Search
from ar_seg_jax.methods.views import Colours, PairedViews
from ar_seg_jax.objectives import clustering, labels, whitening
from ar_seg_jax.objectives.k_means import Block
from ar_seg_jax.objectives.labels import Balance
from ar_seg_jax.objectives.whitening import Whitening

Head = Literal['fresh', 'centroids']

_VIEW = 'first'  # the only one
_HEAD_DEVIATION = 0.01  # of the weights of a new classifier


@dataclasses.dataclass(frozen=True)
class DeepCluster(PseudoLabelled):
    """Learns the cluster of each place of one view (Caron et al. 2018; for pixels the baseline MDC of Cho et al. 2021).

    training_clusters: clusters that are learned, at most `labels.MOST_CLUSTERS`.
    head: 'fresh', a linear classifier that is drawn anew with its clusters, as clusters have no order from one epoch to the
        next; its moments begin anew too. 'centroids', the products with the centroids, which are not trained (MDC's code:
        nonparametric). DeepCluster drops the momentum of the classifier altogether.
    pca_whiten: principal components, each of unit variance, that are clustered instead of the features; 0 for none. They are of
        the initial batches of the search, at the places that are drawn for it; DeepCluster's are of all images.
    balance: see `labels.class_weights`. 'inverse' is DeepCluster's, which draws images uniformly from clusters. 'frequency'
        is that of MDC's code, which counts when it labels; here the counts are those of the search.

    A fresh head sees features of length 1, as that of MDC does; DeepCluster's sees the last layer after its ReLU. For
    predictions k-means sorts what was learned of unchanged images, see `PseudoLabelled`.
    """

    title = 'DeepCluster'
    loss_in_words = 'the cross-entropy of the clusters of its own features in nats'

    training_clusters: int
    head: Head
    pca_whiten: int
    balance: Balance

    def __post_init__(self):
        if not 2 <= self.training_clusters <= labels.MOST_CLUSTERS:
            raise UserError(
                f'method.training_clusters is 2 to {labels.MOST_CLUSTERS}, or 0 for num_clusters; found {self.training_clusters}'
            )
        if self.pca_whiten < 0:
            raise UserError(f'method.pca_whiten is a number of components, or 0 for none; found {self.pca_whiten}')

    @property
    def restarted(self) -> tuple[str, ...]:
        return ('head',) if self.head == 'fresh' else ()

    def init(self, key, image):
        variables, channels = self.init_network(key, image)
        if self.pca_whiten > channels:
            raise UserError(f'method.pca_whiten is at most the {channels} channels that are clustered, found {self.pca_whiten}')
        extra = self.init_extra(key, variables, {_VIEW: self.training_clusters}, self.pca_whiten or channels)
        if self.pca_whiten:
            extra = {**extra, 'whitening': Whitening.none(channels, self.pca_whiten)}
        params = {'network': variables['params']}
        return (params | {'head': self._drawn_head(key, channels)} if self.head == 'fresh' else params), extra

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        image, drawn = batch['image'], self.draw(extra, batch['image'])
        view = self.views.first(self.model, image, drawn)
        found = extra['clusters'][_VIEW]
        labelled = self._embedded(extra, self.vectors(extra['teacher'], view)[0])
        classes = clustering.nearest(found.centroids, labelled)
        vectors, updated = self.vectors(self.student(params, extra), view, jax.random.fold_in(key, part))
        if self.head == 'fresh':
            logits = clustering.unit(vectors) @ params['head']['kernel'] + params['head']['bias'][None, None, None]
        else:
            logits = clustering.products(found.centroids, self._embedded(extra, vectors))
        counted = self.views.counted(self.model, vectors, batch, drawn)
        weights = labels.class_weights(found.sizes, self.balance)
        outputs = {
            'cross_entropy': labels.cross_entropy(logits, classes, weights, counted),
            'labels': labels.statistics(labelled, classes, found.centroids, counted),
        }
        return outputs, {**extra, BATCH_STATS: {'network': updated[BATCH_STATS]}}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        return outputs['cross_entropy'].mean(), labels.metrics(outputs['labels'])

    def refresh(self, params: Params, extra: Extra, batches, *, key, time) -> tuple[Params, Extra]:
        epoch_key, search_key, head_key = jax.random.split(key, 3)
        extra, blocks = self.begin_epoch(params, extra, batches, key=epoch_key)
        if self.pca_whiten:
            initial = list(itertools.islice(blocks, self.search.initial_batches))
            extra = {**extra, 'whitening': whitening.find([block[_VIEW] for block in initial], self.pca_whiten)}
            blocks = itertools.chain(initial, blocks)
        blocks = (_embedded_blocks(self, extra, block) for block in blocks)
        found = self.search.clusters(blocks, {_VIEW: (_VIEW, self.training_clusters)}, key=search_key)
        if self.head == 'fresh':
            params = {**params, 'head': self._drawn_head(head_key, params['head']['kernel'].shape[0])}
        return params, {**extra, 'clusters': found}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        features, vectors = self.predicted(params, extra, image)
        embedded = self._embedded(extra, vectors)
        nearness = clustering.nearness(extra['centroids'], embedded)
        scores = jax.nn.softmax(self.to_pixels(nearness, *image.shape[1:3]))
        return Outputs(scores=scores, features=features, logits=embedded)

    def vectors_of_views(self, variables, image, drawn, key=None):
        vectors, variables = self.vectors(variables, self.views.first(self.model, image, drawn), key)
        return {_VIEW: vectors}, variables

    def _embedded(self, extra: Extra, vectors: Float[Array, '*places _']) -> Float[Array, '*places _']:
        """What is clustered: of length 1, after the whitening if there is one."""
        return clustering.unit(extra['whitening'](vectors) if self.pca_whiten else vectors)

    def _drawn_head(self, key, channels: int):
        kernel = _HEAD_DEVIATION * jax.random.normal(key, (channels, self.training_clusters))
        return {'kernel': kernel, 'bias': jnp.zeros(self.training_clusters)}


@functools.partial(jax.jit, static_argnums=0)
def _embedded_blocks(method: DeepCluster, extra: Extra, blocks: Mapping[str, Block]) -> dict[str, Block]:
    return {name: Block(method._embedded(extra, block.vectors), block.counted) for name, block in blocks.items()}


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    training_clusters: int,
    head: Head,
    pca_whiten: int,
    balance: Balance,
    width: int,
    colours: Colours,
    smallest_crop: float,
    flip: float,
    shrink: int,
    initial_batches: int,
    iterations: int,
    vectors_of_image: int,
) -> DeepCluster:
    """From the options of config.method; see `DeepCluster`, `PairedViews`, `Search` and `pseudo_labels.heads`.

    training_clusters: 0 learns num_clusters.
    """
    clusters.check(num_clusters)
    return DeepCluster(
        make_model(heads=pseudo_labels.heads(width)),
        num_clusters,
        PairedViews(colours, smallest_crop, flip, shrink),
        Search(initial_batches, iterations, vectors_of_image),
        training_clusters or num_clusters,
        head,
        pca_whiten,
        balance,
    )
