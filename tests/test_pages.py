"""What README.md and the pages of docs/ say of the program's files and configs."""

import importlib
import re

import jax
import jax.numpy as jnp
import pytest

from ar_seg_jax import build, sharding
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import assembly
from configs import common
from tests.support.commands import ROOT
from tests.support.documents import PAGES

OF_A_READER = re.compile(r'```python.*?```', re.DOTALL)  # files that the page shows how to write
NAMED = re.compile(r'\b(?:ar_seg_jax|benchmarks|configs|docs|launch|tests)/[\w/]+\.(?:csv|json|md|png|py|sh)\b')


COMMAND = re.compile(r'^.*--config configs/\w+\.py.*$', re.MULTILINE)
LAUNCHERS = [*PAGES, *sorted((ROOT / 'launch').glob('*.sh')), *sorted((ROOT / 'configs').glob('*.py'))]


def _devices(command):
    """Numbers of devices that a command is for, as far as it tells: a pod slice has any number of chips."""
    if nodes := re.search(r'--nodes=(\d+) .*--gpus-per-node=(\d+)', command):
        return [int(nodes[1]) * int(nodes[2])]
    if 'launch/tpu.sh' in command:
        return [8, 16, 32]
    return [int(found[1])] if (found := re.search(r'--processes=(\d+)', command)) else [1]


@pytest.mark.parametrize('page', LAUNCHERS, ids=lambda page: page.name)
def test_batches_of_every_command_divide_over_its_devices(page):
    for command in COMMAND.findall(page.read_text()):
        name = re.search(r'--config configs/(\w+)\.py', command)[1]
        config = importlib.import_module(f'configs.{name}').get_config()
        for key in ('pipeline.batch_size', 'evaluation.batch_size'):
            found = re.search(rf'--config\.{key}=(\d+)', command)
            size = int(found[1]) if found else config.to_dict()[key.partition('.')[0]]['batch_size']
            for devices in _devices(command):
                sharding.check_batch_size(size, devices, key)


def test_the_paper_s_batches_do_not_divide_over_a_node_of_eight_and_those_for_it_do():
    for name, other in (('coco3', 'coco3_batch64'), ('potsdam6', 'potsdam6_batch32')):
        sizes = [importlib.import_module(f'configs.{each}').get_config().pipeline.batch_size for each in (name, other)]
        for devices in (8, 16):
            sharding.check_batch_size(sizes[1], devices, 'pipeline.batch_size')
            below = sizes[0] // devices * devices
            with pytest.raises(UserError, match=f'set --config.pipeline.batch_size to {below} or {below + devices}'):
                sharding.check_batch_size(sizes[0], devices, 'pipeline.batch_size')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    named = set(NAMED.findall(OF_A_READER.sub('', page.read_text())))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_another_optimiser_is_chosen_as_docs_options_says():
    config = common.get_config()
    before = config.to_dict()['optimizer']
    (lines,) = re.findall(r'(?:^    config\.optimizer.*\n)+', (ROOT / 'docs' / 'options.md').read_text(), re.MULTILINE)
    exec('\n'.join(line.strip() for line in lines.splitlines()), {'common': common, 'config': config})
    found = config.to_dict()
    assert found['optimizer']['name'] == 'adamw' and found['optimizer']['schedule'] == {'name': 'cosine', 'final': 0.1}
    assert found['optimizer']['rates'] == {'stem': 0.5} and before['schedule'] == {'name': 'constant'}
    build.transformation(found, build.method(found), steps=10)


def test_a_training_begins_with_published_weights_as_docs_weights_says():
    config = common.get_config()
    page = (ROOT / 'docs' / 'weights.md').read_text()
    lines = re.findall(r'^    (config\.(?:model|initial_weights|frozen)\b.*\n)', page, re.MULTILINE)
    exec(''.join(lines), {'common': common, 'config': config})
    found = config.to_dict()
    assert (found['model']['name'], found['frozen']) == ('resnet_fpn', ('network/resnet',))
    weights = assembly.initial_weights(found)
    assert (weights.file, weights.layout, weights.into) == ('resnet18.safetensors', 'torchvision_resnet18', 'network/resnet')
    method = build.method({**found, 'method': common.picie()})
    params, _ = jax.eval_shape(method.init, jax.random.key(0), jnp.zeros((2, 64, 64, 3), jnp.uint8))
    assert 'resnet' in params['network']
