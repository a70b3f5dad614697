"""From a config to the objects of a run: the only place that reads it."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import optax
from google.protobuf import json_format
from jax.sharding import Mesh

from ar_seg_jax import orderings
from ar_seg_jax.classes import Class
from ar_seg_jax.data import coco_stuff, folder, pipeline, potsdam, textures
from ar_seg_jax.data.builder import SegmentationBuilder, prepare
from ar_seg_jax.data.images import DataError
from ar_seg_jax.evaluation.probes import Probes
from ar_seg_jax.evaluation.segmentation import Protocol
from ar_seg_jax.interfaces import Batch, Method
from ar_seg_jax.methods.ac import AC
from ar_seg_jax.methods.arl import ARL
from ar_seg_jax.methods.views import Views
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.models.critics import SeparableCritics
from ar_seg_jax.objectives.info_nce import ContrastiveLoss
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.training import sharding
from ar_seg_jax.training.loop import Schedule
from ar_seg_jax.training.watch import Watch

Config = Mapping[str, Any]

DATASETS = {'coco_stuff': coco_stuff.builder, 'folder': folder.builder, 'potsdam': potsdam.builder, 'textures': textures.builder}
MODELS = {'autoregressive': Autoregressive}
SETS_OF_ORDERINGS = {
    'raster': tuple(orderings.RASTER),
    'zigzag': tuple(orderings.ZIGZAG),
    'all': tuple(orderings.ORDERINGS),
}


def method(config: Config) -> Method:
    """The method with its model."""
    options = dict(config['method'])
    name, names = options.pop('name'), options.pop('orderings')
    names = SETS_OF_ORDERINGS.get(names) or tuple(part.strip() for part in names.split(','))
    views = _fitting('method', name, Views, _taken(options, Views, 'orderings'), orderings=names)
    _check_views(views, config)
    for key, count, most in (
        ('model.num_clusters', config['model']['num_clusters'], 255),
        ('arl.width', config['arl']['width'], 4096),
    ):
        if not 2 <= count <= most:  # clusters are pixels of 8 bits
            raise ValueError(f'{key} is 2 to {most}, found {count}')
    if name not in METHODS:
        raise ValueError(f'no method is called {name!r}; config.method.name is one of {", ".join(METHODS)}')
    return METHODS[name](config, options, views)


def sees_far(config: Config) -> bool:
    """Whether the scores of a pixel depend on more of the image than the margin of a tile (`tiling`)."""
    return config['model']['attention'] or config['model']['variant'] == 'F5'


def _check_views(views: Views, config: Config):
    if views.sampling == 'hard_loss' and config['pipeline']['micro_batches'] > 1:
        raise ValueError("method.sampling 'hard_loss' compares losses of whole batches; set pipeline.micro_batches to 1")
    crop, stride = config['pipeline']['crop_size'], config['model']['output_stride']
    if views.transformations in ('flip', 'turn', 'all') and crop % stride:
        raise ValueError(
            f'method.transformations {views.transformations!r} needs a crop that the output stride divides, so that cells stay '
            f'cells: set pipeline.crop_size to a multiple of {stride}, found {crop}'
        )


def _ac(config: Config, options: dict[str, Any], views: Views) -> AC:
    information = _fitting('method', 'ac', InformationLoss, _taken(options, InformationLoss))
    model = _make(MODELS, 'model', config['model'])
    return _fitting('method', 'ac', AC, options, model=model, information=information, views=views)


def _arl(config: Config, options: dict[str, Any], views: Views) -> ARL:
    """With the keys of `config.arl`. Those of `config.method` that are AC's must exist, but have no say."""
    if unknown := options.keys() - {field.name for of in (AC, InformationLoss) for field in dataclasses.fields(of)}:
        raise ValueError(f'config.method has no {", ".join(sorted(unknown))}')
    if options.get('mask_void'):
        raise ValueError('method.mask_void leaves pixels out of the loss of AC; ARL cannot, so set it to False')
    own = dict(config['arl'])
    width, contrast = own.pop('width'), _fitting('arl', 'arl', ContrastiveLoss, _taken(own, ContrastiveLoss))
    model = _make(MODELS, 'model', {**config['model'], 'num_clusters': width, 'auxiliary_clusters': 0})
    critics, clusters = SeparableCritics(model.dtype), config['model']['num_clusters']
    return _fitting('arl', 'arl', ARL, own, model=model, critics=critics, contrast=contrast, num_clusters=clusters, views=views)


METHODS = {'ac': _ac, 'arl': _arl}


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with the paper's defaults."""
    return optax.adam(config['learning_rate'], b1=0.9, b2=0.999)


@dataclasses.dataclass(frozen=True)
class Data:
    """A prepared data set and how the run reads it.

    classes: empty where there are no labels. protocols: how results are scored; the first is followed during training.
    """

    builder: SegmentationBuilder
    classes: tuple[Class, ...]
    protocols: tuple[Protocol, ...]
    train_split: str
    picture_split: str
    options: Config
    mesh: Mesh
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """Shape of a global training batch of images."""
        crop = self.options['pipeline']['crop_size']
        return self.options['pipeline']['batch_size'], crop, crop, self.builder.builder_config.channels

    def examples(self, split: str):
        return pipeline.source(self.builder, split)

    def training(self, start: int) -> Iterator[Batch]:
        """This process's batches, endlessly, from the one that follows step `start`."""
        examples = self.examples(self.train_split)
        return pipeline.training_iterator(examples, seed=self.seed, start=start, **self.options['pipeline'], **_processes())

    def training_sample(self, count: int) -> Iterator[Batch]:
        """The first `count` batches, whole on every process."""
        options = self.options['pipeline'] | {'micro_batches': 1}
        yield from itertools.islice(pipeline.training_iterator(self.examples(self.train_split), seed=self.seed, **options), count)

    @property
    def probe_split(self) -> str:
        """The split whose labels probes are trained with."""
        return self.options['evaluation']['probe_split'] or self.train_split

    def labelled(self, count: int) -> Iterator[Batch]:
        """`count` batches for probes, as global batches on the devices."""
        return self._on_devices(self.probe_split, count)

    def placed_sample(self, count: int) -> Iterator[Batch]:
        """The first `count` batches of the training split as global batches on the devices, read when they are asked for."""
        return self._on_devices(self.train_split, count)

    def _on_devices(self, split: str, count: int) -> Iterator[Batch]:
        options = self.options['pipeline'] | {'micro_batches': 1}
        batches = pipeline.training_iterator(self.examples(split), seed=self.seed, **options, **_processes())
        for batch in itertools.islice(batches, count):
            yield sharding.place(batch, sharding.split_batch(self.mesh))

    def evaluation(self, split: str) -> Iterable[Batch]:
        """A split once, as global batches on the devices."""
        batches = pipeline.evaluation_batches(
            self.examples(split),
            crop_size=self.options['evaluation']['crop_size'],
            batch_size=self.options['evaluation']['batch_size'] // jax.process_count(),
            **_processes(),
        )
        return (sharding.place(batch, sharding.split_batch(self.mesh)) for batch in batches)


def check_batches(config: Config, mesh: Mesh):
    """ValueError unless all batches divide over the devices."""
    pipeline, evaluation = config['pipeline'], config['evaluation']
    if pipeline['micro_batches'] < 1:
        raise ValueError(f'--config.pipeline.micro_batches is at least 1, found {pipeline["micro_batches"]}')
    sharding.check_batch_size(pipeline['batch_size'], mesh, 'pipeline.batch_size', pipeline['micro_batches'])
    sharding.check_batch_size(evaluation['batch_size'], mesh, 'evaluation.batch_size')


def data(config: Config, mesh: Mesh, may_prepare: bool = True) -> Data:
    """The data set of a config, prepared on first use; without `may_prepare` DataError if it has to be."""
    options = dict(config['data'])
    train_split, data_dir = options.pop('train_split'), str(Path(options.pop('data_dir')).expanduser())
    try:
        builder = prepare(_make(DATASETS, 'data', options, data_dir=data_dir), may_prepare)
    except (json_format.Error, UnicodeDecodeError) as error:
        raise DataError(f'prepared data in {data_dir} is damaged ({error}); remove it to prepare it again') from error
    classes = builder.builder_config.classes
    protocols = tuple(map(Protocol.parse, config['evaluation']['protocols'])) if classes else ()
    picture_split = protocols[0].scored_on if protocols else train_split
    plain = {part: dict(config[part]) for part in ('pipeline', 'evaluation')}
    return Data(builder, classes, protocols, train_split, picture_split, plain, mesh, config['seed'])


def schedule(config: Config, data: Data) -> Schedule:
    """Steps, from `steps` or from `epochs` of the training split; ValueError unless just one of them is set."""
    steps, epochs = config['steps'], config['epochs']
    if (steps > 0) == (epochs > 0):
        raise ValueError(f'set one of --config.steps and --config.epochs and leave the other 0; found {steps} and {epochs}')
    if epochs:
        steps = max(1, round(epochs * len(data.examples(data.train_split)) / data.image_shape[0]))
    traced = _steps_to_trace(config['profile'])
    return Schedule(steps, config['log_every'], config['evaluate_every'], config['checkpoint_every'], traced)


def watch(config: Config) -> Watch:
    """What happens when steps are not applied."""
    return Watch(config['stop_after_skipped'], config['learning_rate'])


def probes(config: Config) -> Probes:
    """The probes of frozen features."""
    options = config['evaluation']
    return Probes(tuple(options['probes']), options['probe_steps'])


def compilation_cache(config: Config, workdir: Path) -> Path | None:
    """Where compiled programs are kept, for runs that begin or go on later; None for nowhere."""
    place = config['compilation_cache']
    if place == 'none':
        return None
    return Path(place).expanduser() if place else workdir.absolute().parent / '.compilation_cache'


def _steps_to_trace(text: str) -> tuple[int, int] | None:
    """First and last step of 'first-last' or 'step'; None for ''."""
    if not text:
        return None
    first, _, last = text.partition('-')
    if not (first.isdecimal() and (last or first).isdecimal()) or not 0 < int(first) <= int(last or first):
        raise ValueError(f"--config.profile is a step or a range of steps such as '10-12', found {text!r}")
    return int(first), int(last or first)


def _make(known: Mapping[str, Callable], part: str, options: Config, **more: Any) -> Any:
    """`known[name]` called with the other options as keywords; ValueError for an unknown name or option."""
    options = dict(options)
    name = options.pop('name')
    if name not in known:
        raise ValueError(f'no {part} is called {name!r}; config.{part}.name is one of {", ".join(sorted(known))}')
    return _fitting(part, name, known[name], options, **more)


def _fitting(part: str, name: str, make: Callable, options: Config, **more: Any) -> Any:
    """`make` called with options as keywords; ValueError, about `config.part` of what is called `name`, for those it has not."""
    try:
        return make(**options, **more)
    except TypeError as error:
        raise ValueError(f'config.{part} does not fit {name!r}: {error}') from error


def _taken(options: dict[str, Any], fields_of: type, *but: str) -> dict[str, Any]:
    """Takes the options that are fields of a dataclass out of `options`."""
    names = [field.name for field in dataclasses.fields(fields_of) if field.name not in but]
    return {name: options.pop(name) for name in names if name in options}


def _processes() -> dict[str, int]:
    return {'process_index': jax.process_index(), 'process_count': jax.process_count()}
