"""The compiled training step of a config at its real size, for devices that may not be there."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from ar_seg_jax import sharding
from ar_seg_jax.epochs import Epochs, Phase
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import create_state
from ar_seg_jax.training.step import make_train_step

# What XLA knows of a GPU: published figures of an H200 (132 processors of compute capability 9.0, 141 GB at 4.8 TB/s).
_H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  l2_cache_size: 52428800 memory_bandwidth: 4800000000000 device_memory_size: 141000000000
}
platform_name: "CUDA"
runtime_version { major: 13 }
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H200"
"""
# Of the compiler for CPUs, for programs that are read and never run: machine code that is not optimised, which changes no sums.
UNRUN = {'xla_backend_optimization_level': 0}
_ABSENT = {
    'h200': {'platform': 'cuda', 'topology_name': 'h200', 'topology': '1x1x1', 'target_config': _H200},
    'v5e': {'platform': 'tpu', 'topology_name': 'v5e:2x2'},
    'v5p': {'platform': 'tpu', 'topology_name': 'v5p:2x2x1'},
}
TARGETS = ('here', *_ABSENT)


def mesh(target: str) -> Mesh:
    """One device of a kind, or all that are 'here'.

    XLA compiles for devices that are not here: for an H200 with the packages of `jax[cuda13]`, for TPUs with `libtpu`.
    """
    if target == 'here':
        return sharding.make_mesh()
    devices = topologies.get_topology_desc(**_ABSENT[target]).devices
    return Mesh(np.array(devices[:1]), ('data',), axis_types=(AxisType.Auto,))


def options(target: str) -> dict[str, Any]:
    """Of the compiler. Without a GPU to try them on, the tiles that XLA chooses for Triton may be impossible."""
    return {'xla_gpu_enable_triton_gemm': False} if target == 'h200' else {}


def load(path: Path) -> dict[str, Any]:
    """The config of a Python file with `get_config()`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().to_dict()


def lower_step(
    method: Method,
    optimizer: Optimizer,
    image_shape: Sequence[int],
    micro_batches: int = 1,
    on: Mesh | None = None,
    phase: Phase | None = None,
):
    """The training step, of a phase if there are some, which is as yet to be compiled, and a description of its state. Nothing is
    allocated."""
    on = on or sharding.make_mesh()
    state = jax.eval_shape(lambda: create_state(method, optimizer.tx, 0, jnp.zeros(image_shape, jnp.uint8)))
    state = _placed(state, jax.tree.map(lambda _: sharding.replicated(on), state))
    if optimizer.shard_state:
        state = state.replace(opt_state=_placed(state.opt_state, sharding.parts_of_state(on, state.opt_state)))
    split = sharding.split_batch(on, micro_batches)
    parts = () if micro_batches == 1 else (micro_batches,)
    batch = {
        name: jax.ShapeDtypeStruct((*parts, array.shape[0] // micro_batches, *array.shape[1:]), array.dtype, sharding=split)
        for name, array in batch_of(method, image_shape).items()
    }
    method, optimizer = method.during(phase), optimizer.during(phase)
    with jax.set_mesh(on):
        step = make_train_step(method, optimizer, epochs=Epochs(image_shape[0], image_shape[0]), micro_batches=micro_batches)
        return jax.jit(step, donate_argnums=0).lower(state, batch), state


def batch_of(method: Method, image_shape: Sequence[int]) -> dict[str, jax.ShapeDtypeStruct]:
    """What a training batch of a method has."""
    batch, *size, _ = image_shape
    found = {'image': (tuple(image_shape), jnp.uint8), 'label': ((batch, *size), jnp.uint8)}
    if method.uses_place:
        found['box'] = (batch, 4), jnp.float32
    if method.region_size:
        found['regions'] = (batch, *size), jnp.int32
    return {name: jax.ShapeDtypeStruct(*form) for name, form in found.items()}


def _placed(tree, shardings):
    return jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree, shardings)


def peak_bytes(compiled) -> int:
    """Memory of a device while the program runs: arguments, temporaries, and outputs that do not take the arguments' place."""
    memory = compiled.memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + outputs
