"""The real samples, where the checkout has them beside it."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2].parent / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Directory of real images with labels; they are not part of the repository."""
    if not _SHARED.is_dir():
        pytest.skip(f'real image samples are not here: no directory {_SHARED}')
    return _SHARED
