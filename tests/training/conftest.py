"""What tests of whole trainings share."""

import gc

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope='module')
def compiled_once(tmp_path_factory):
    """Programs that several trainings of a module need are compiled by the first of them, as on a user's machine."""
    names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp('programs')), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it is opened once
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope='module')
def collected():
    """Orbax leaves an event loop behind where reading fails, of which Python warns when it collects it: then, and not later."""
    yield
    gc.collect()
