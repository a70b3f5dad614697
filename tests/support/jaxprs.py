"""What a traced function computes on its way. Nothing is compiled or allocated, so that sizes may be those of the papers."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def intermediates(function: Callable[..., Any], *arguments: Any) -> list[jax.core.ShapedArray]:
    """All arrays that the equations of a function give, with those of loops and of functions within, in their order.

    arguments: arrays or descriptions of them.
    """
    return list(_of(jax.make_jaxpr(function)(*arguments).jaxpr))


def size(array: jax.core.ShapedArray) -> int:
    return math.prod(array.shape)


def _of(jaxpr: core.Jaxpr) -> Iterator[jax.core.ShapedArray]:
    for equation in jaxpr.eqns:
        for within in core.jaxprs_in_params(equation.params):
            yield from _of(within)
        yield from (variable.aval for variable in equation.outvars)
