"""Quick compilation: most programs of the tests run a few times on tiny maps, and take most of their time to compile.

Without LLVM's optimisations and XLA's emitters of fused loops that is a third of it. XLA's own optimisations, of what is computed
on which device, stay.
"""

from importlib import metadata

_FLAGS = ['--xla_backend_optimization_level=0']
if metadata.version('jax').startswith('0.10.'):  # later ones know no such flag, and end the process
    _FLAGS += ['--xla_cpu_use_fusion_emitters=false', '--xla_cpu_parallel_codegen_split_count=1']


def flags(devices: int = 1, more: str = '') -> str:
    """A value for XLA_FLAGS, with so many simulated devices. `more` flags come last, and so prevail."""
    return ' '.join([f'--xla_force_host_platform_device_count={devices}', *_FLAGS, more]).strip()
