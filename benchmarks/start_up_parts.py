"""Processor time of the parts of one start of a training, from Python to the end of the first step.

    python -m benchmarks.start_up_parts --config CONFIG [--config.key=value ...] --workdir DIR

Takes the flags of ar_seg_jax.main and ends after the first step, by force. Prints JSON: seconds of each import, which is what it
takes where those before it are done, and of each part, see `timing.Clock`; and what JAX says of its own seconds: functions that
were traced and lowered, and programs that were found in the cache or compiled. `python -m benchmarks.start_up --parts 5` makes a
table of it.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

from absl import flags

from benchmarks import timing

IMPORTS = (
    'numpy', 'jax', 'flax.linen', 'optax', 'ar_seg_jax.build', 'tensorflow_datasets', 'grain', 'orbax.checkpoint',
    'ar_seg_jax.runs.run',
)  # fmt: skip
_FIRST_CALL = 'first step, traced, lowered, found or compiled'
# The functions whose time is that of a part.
PARTS = {
    'method and optimiser': ['ar_seg_jax.build.method', 'ar_seg_jax.build.transformation'],
    'devices': ['ar_seg_jax.sharding.make_mesh'],
    'data set': ['ar_seg_jax.runs.assembly.dataset', 'ar_seg_jax.runs.assembly.prepared'],
    'checks of the config': ['ar_seg_jax.runs.checks.check'],
    'evaluators, and the shapes of what they look at': ['ar_seg_jax.runs.assembly.evaluators'],
    'compiled programs, checked': ['ar_seg_jax.runs.programs.keep'],
    'checkpoints': ['ar_seg_jax.runs.run._checkpoints'],
    'shape of the state, traced and announced': ['ar_seg_jax.runs.run._announce'],
    'state before training': ['ar_seg_jax.training.task.Task.initial_state'],
    'pipeline': ['ar_seg_jax.data.dataset.Dataset.training'],
    'refresh': ['ar_seg_jax.training.task.Task.refreshed'],
    _FIRST_CALL: [],  # of a function that is made when it is asked for
    'first step, computed': ['ar_seg_jax.training.step.Watch.check'],
}
# What JAX calls them, and what they are called here.
_EVENTS = {
    '/jax/core/compile/jaxpr_trace_duration': 'traced',
    '/jax/core/compile/jaxpr_to_mlir_module_duration': 'lowered',
    '/jax/core/compile/backend_compile_duration': 'found or compiled',
    '/jax/compilation_cache/cache_retrieval_time_sec': 'of these found, and read',
}


def imports() -> dict[str, float]:
    """Seconds of each; that of Python itself, of flags and of this module comes first."""
    found, last = {'Python, flags': time.process_time()}, time.process_time()
    for name in IMPORTS:
        importlib.import_module(name)
        now = time.process_time()
        found[name], last = now - last, now
    return found


def measure():
    """A start with the flags of this process, which ends here."""
    from ar_seg_jax import main  # which defines the flags

    imported = imports()
    import jax

    from ar_seg_jax.training.journal import Journal
    from ar_seg_jax.training.task import Task

    flags.FLAGS(sys.argv)
    clock, heard = timing.Clock(), {name: [] for name in _EVENTS.values()}

    def hear(event: str, seconds: float, **_: Any):
        if event in _EVENTS:
            heard[_EVENTS[event]].append(seconds)

    def end(*_: Any, **__: Any):
        found = {part: sum(clock.seconds.get(part, ())) for part in PARTS}
        found['everything else'] = time.process_time() - sum(imported.values()) - sum(found.values())
        jax_says = {name: {'count': len(seconds), 'seconds': sum(seconds)} for name, seconds in heard.items()}
        print(json.dumps({'imports': imported, 'parts': found, 'jax': jax_says}), flush=True)
        os._exit(0)

    jax.monitoring.register_event_duration_secs_listener(hear)
    clock.watch(PARTS)
    compiled_step = Task.compiled_step
    Task.compiled_step = lambda self, step=0: clock.watched(_FIRST_CALL, compiled_step(self, step))
    Journal.training = end
    main.main()


if __name__ == '__main__':
    measure()
