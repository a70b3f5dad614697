"""Versions of the packages that decide what files of a run mean."""

from collections.abc import Mapping
from importlib import metadata

import ar_seg_jax

_PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint')


def installed() -> dict[str, str]:
    """By package, this one first."""
    return {'ar_seg_jax': ar_seg_jax.__version__, **{name: metadata.version(name) for name in _PACKAGES}}


def differing(written: Mapping[str, str]) -> str:
    """In words, which versions are not those of today; '' where all are."""
    today = installed()
    other = {name: version for name, version in written.items() if today.get(name) != version}
    return ', '.join(f'{name} {version}, this is {today.get(name)}' for name, version in other.items())
