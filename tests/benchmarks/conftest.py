"""What the package computes in float32 whatever it is told is computed in float64, for comparison with PyTorch."""

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture
def float64(monkeypatch):
    monkeypatch.setattr(jnp, 'float32', jnp.float64)
    with jax.enable_x64(True):
        yield
