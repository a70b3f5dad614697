"""Says whether this machine is ready for a run, and what to do about what is not.

    python -m ar_seg_jax.doctor [--data_dir DIR]

Looks at versions, devices, whether each device multiplies matrices right and how fast, free memory, and the room where runs,
prepared data and compiled programs go. Takes some seconds and writes nothing. The exit status is 1 if something is wrong.
"""

import platform
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError, printable

_DATA_DIR = flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'Directory of prepared data, as in config.data.data_dir.')

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'tensorflow-datasets', 'numpy')
_PLUGINS = ('jax-cuda12-plugin', 'jax-cuda13-plugin')  # of JAX for NVIDIA devices, which must be of the version of jaxlib


def main() -> int:
    wrong = _tell(_versions())
    try:
        wrong += _tell(_machine())
    except ImportError as error:
        wrong += _tell([('versions', str(error), 'Install the requirements anew: launch/setup.sh, or pip install .')])
    except UserError as error:  # about a home directory that is not known
        wrong += _tell([('disk', str(error), 'Set HOME to a directory of yours')])
    print(f'\n{wrong} of these are wrong' if wrong else '\nAll is well')
    return 1 if wrong else 0


def _tell(findings: Iterable[tuple[str, str, str]]) -> int:
    """Prints each as it comes; how many are wrong."""
    wrong = 0
    for subject, words, advice in findings:
        print(f'{"WRONG" if advice else "ok":6} {subject:18} {printable(words)}', flush=True)
        if advice:
            print(f'{"":6} {"what to do:":18} {printable(advice)}', flush=True)
            wrong += 1
    return wrong


def _versions() -> Iterator[tuple[str, str, str]]:
    import ar_seg_jax

    yield 'python', f'{platform.python_version()} ({sys.executable}), ar_seg_jax {ar_seg_jax.__version__}', ''
    found = {name: _version(name) for name in (*_PACKAGES, *_PLUGINS)}
    missing = [name for name in _PACKAGES if not found[name]]
    words = ', '.join(f'{name} {version}' for name, version in found.items() if version)
    yield 'versions', words, f'Install what is missing: pip install {" ".join(missing)}' if missing else ''
    for name in _PLUGINS:
        if found[name] not in ('', found['jaxlib']):
            words = f'{name} is {found[name]}, and jaxlib {found["jaxlib"]}, so that JAX does not use it'
            yield 'versions', words, f'pip install "jax[{name.split("-")[1]}]=={found["jax"]}"'


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _machine() -> Iterator[tuple[str, str, str]]:
    """What needs JAX, which may be missing."""
    from ar_seg_jax.runs import health

    yield from health.findings(_DATA_DIR.value)


if __name__ == '__main__':
    cli.run(main)
