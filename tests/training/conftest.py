"""What tests of checkpoints share."""

import gc

import pytest


@pytest.fixture(scope='module')
def collected():
    """Orbax leaves an event loop behind where reading fails, of which Python warns when it collects it: then, and not later."""
    yield
    gc.collect()
