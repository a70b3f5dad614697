"""PiCIE: the clusters of two views of an image label both views."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Metrics, Model, Outputs, Params
from ar_seg_jax.methods import clusters, pseudo_labels
from ar_seg_jax.methods.pseudo_labels import Maps, PseudoLabelled, Search, Variables
from ar_seg_jax.methods.views import Colours, Drawn, Images, Input, PairedViews
from ar_seg_jax.objectives import clustering, labels
from ar_seg_jax.objectives.labels import Balance

Scores = Literal['cosine', 'dot']

_VIEWS = ('first', 'second')
_MAIN, _AUXILIARY = 'main', 'auxiliary'


@dataclasses.dataclass(frozen=True)
class PiCIE(PseudoLabelled):
    """Makes places near to the centroid of their own view and to that of the other view (Cho et al. 2021).

    Of an image x in the colours P1 and P2 let z1 = f(G(P1 x)) and z2 = G(f(P2 x)) for a part G; both are clustered by
    themselves. The loss is the mean of the cross-entropies of z1 and z2 with the labels and centroids of their own view (within)
    and of the other one (cross): a quarter of the sum in the paper, as in the released code. No classifier is trained.

    auxiliary_clusters: of a second clustering of each view (PiCIE+H, 100 in the paper); 0 has none. With K and K2 clusters the
        loss is the mean of both with the weights log K2 and log K, since a cross-entropy grows with the logarithm of the number.
        It is not part of the released code.
    scores: of clusters before the softmax. 'cosine': minus the cosine distance (paper). 'dot': the product with the
        centroid, which is shorter than 1, so that wide clusters score lower (released code).
    balance: see `labels.class_weights`. The paper says no more than that there is one by the size of clusters; 'frequency' is
        what the released code does. It counts when it labels; here the counts are those of the search.

    In training, the released code does not change the colours of the first view of Cityscapes, though it clusters it with changed
    ones; here all views are those that were clustered.
    """

    loss_in_words = 'the cross-entropy of clusters within and across two views in nats'

    auxiliary_clusters: int
    scores: Scores
    balance: Balance

    def __post_init__(self):
        if self.auxiliary_clusters and not 2 <= self.auxiliary_clusters <= labels.MOST_CLUSTERS:
            raise UserError(
                f'method.auxiliary_clusters is 2 to {labels.MOST_CLUSTERS}, or 0 for none; found {self.auxiliary_clusters}'
            )

    @property
    def title(self) -> str:
        return 'PiCIE+H' if self.auxiliary_clusters else 'PiCIE'

    def init(self, key, image):
        variables, channels = self.init_network(key, image)
        wanted = {name: count for name, (_, count) in self._wanted().items()}
        return {'network': variables['params']}, self.init_extra(key, variables, wanted, channels)

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        image, drawn = batch['image'], self.draw(extra, batch['image'])
        views = self.inputs(image, drawn)
        labelled, _ = self.pair(extra['teacher'], image, views, drawn)
        pair, updated = self.pair(self.student(params, extra), image, views, drawn, jax.random.fold_in(key, part))
        counted = self.views.counted(self.model, pair[_VIEWS[0]], batch, drawn)
        outputs = {level: self._compared(extra, level, labelled, pair, counted) for level in self._levels()}
        return outputs, {**extra, BATCH_STATS: {'network': updated[BATCH_STATS]}}

    def objective(self, outputs: Any, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        loss, metrics = jnp.zeros(()), {}
        for level, share in self._shares().items():
            entropies = [[outputs[level]['cross_entropy'][f'{one} by {other}'].mean() for other in _VIEWS] for one in _VIEWS]
            within, cross = (entropies[0][0] + entropies[1][1]) / 2, (entropies[0][1] + entropies[1][0]) / 2
            loss += share * (within + cross) / 2
            found = {'within': within, 'cross': cross, **_of_both(outputs[level]['labels'])}
            metrics |= found if level == _MAIN else {f'{level}_{name}': value for name, value in found.items()}
        return loss, metrics

    def refresh(self, params: Params, extra: Extra, batches, *, key, time) -> tuple[Params, Extra]:
        epoch_key, search_key = jax.random.split(key)
        extra, blocks = self.begin_epoch(params, extra, batches, key=epoch_key)
        found = self.search.clusters(blocks, self._wanted(), key=search_key)
        return params, {**extra, 'clusters': found}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        features, vectors = self.predicted(params, extra, image)
        vectors = clustering.unit(vectors)
        scores = jax.nn.softmax(self.to_pixels(self._scores(extra['centroids'], vectors), *image.shape[1:3]))
        return Outputs(scores=scores, features=features, logits=vectors)

    def inputs(self, image: Images, drawn: Drawn) -> tuple[Input, Input]:
        """Both views as the network sees them; the second one is still whole."""
        return self.views.first(self.model, image, drawn), self.views.second(self.model, image, drawn)

    def vectors_of_views(self, variables, image, drawn, key=None):
        return self.pair(variables, image, self.inputs(image, drawn), drawn, key)

    def pair(
        self, variables: Variables, image: Images, views: tuple[Input, Input], drawn: Drawn, key: Key[Array, ''] | None = None
    ) -> tuple[dict[str, Maps], Variables]:
        """z1 and z2 by the name of their view, of length 1; the network looks at one after the other, see `vectors`."""
        one, variables = self.vectors(variables, views[0], key)
        other, variables = self.vectors(variables, views[1], None if key is None else jax.random.fold_in(key, 1))
        other = self.views.cut(self.model, other, image, drawn)
        return dict(zip(_VIEWS, map(clustering.unit, (one, other)), strict=True)), variables

    def _levels(self) -> dict[str, int]:
        """Numbers of clusters of the clusterings of each view."""
        levels = {_MAIN: self.num_clusters}
        return levels | {_AUXILIARY: self.auxiliary_clusters} if self.auxiliary_clusters else levels

    def _shares(self) -> dict[str, float]:
        """Of the losses of both levels in the whole."""
        if not self.auxiliary_clusters:
            return {_MAIN: 1.0}
        main, auxiliary = math.log(self.num_clusters), math.log(self.auxiliary_clusters)
        return {_MAIN: auxiliary / (main + auxiliary), _AUXILIARY: main / (main + auxiliary)}

    def _wanted(self) -> dict[str, tuple[str, int]]:
        return {_name(level, view): (view, count) for level, count in self._levels().items() for view in _VIEWS}

    def _compared(self, extra: Extra, level: str, labelled: dict[str, Maps], pair: dict[str, Maps], counted):
        """Cross-entropies of each view by the labels of each, and what `labels.metrics` needs."""
        cross_entropy, statistics = {}, {}
        for other in _VIEWS:
            found = extra['clusters'][_name(level, other)]
            classes = clustering.nearest(found.centroids, labelled[other])
            weights = labels.class_weights(found.sizes, self.balance)
            statistics[other] = labels.statistics(labelled[other], classes, found.centroids, counted)
            for one in _VIEWS:
                logits = self._scores(found.centroids, pair[one])
                cross_entropy[f'{one} by {other}'] = labels.cross_entropy(logits, classes, weights, counted)
        return {'cross_entropy': cross_entropy, 'labels': statistics}

    def _scores(self, centroids: Float[Array, 'clusters channels'], vectors: Maps) -> Maps:
        if self.scores == 'dot':
            return clustering.products(centroids, vectors)
        return clustering.products(clustering.unit(centroids), vectors) - 1


def _name(level: str, view: str) -> str:
    return f'{level} of the {view} view'


def _of_both(statistics: dict[str, labels.Statistics]) -> Metrics:
    """The mean over the views."""
    return jax.tree.map(lambda *each: sum(each) / len(each), *(labels.metrics(statistics[view]) for view in _VIEWS))


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    auxiliary_clusters: int,
    scores: Scores,
    balance: Balance,
    width: int,
    colours: Colours,
    smallest_crop: float,
    flip: float,
    shrink: int,
    initial_batches: int,
    iterations: int,
    vectors_of_image: int,
) -> PiCIE:
    """From the options of config.method; see `PiCIE`, `PairedViews`, `Search` and `pseudo_labels.heads`."""
    clusters.check(num_clusters)
    return PiCIE(
        make_model(heads=pseudo_labels.heads(width)),
        num_clusters,
        PairedViews(colours, smallest_crop, flip, shrink),
        Search(initial_batches, iterations, vectors_of_image),
        auxiliary_clusters,
        scores,
        balance,
    )
