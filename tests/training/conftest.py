"""What tests of checkpoints and other files share."""

import gc
import resource
import signal

import pytest


@pytest.fixture(scope='module')
def collected():
    """Orbax leaves an event loop behind where reading fails, of which Python warns when it collects it: then, and not later."""
    yield
    gc.collect()


@pytest.fixture
def full_disk():
    """Files that cannot grow beyond 100 kB, as on a full disk: calling the fixture turns this on and off."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def turn(on):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if on else soft, hard))

    yield turn
    turn(False)
    signal.signal(signal.SIGXFSZ, before)
