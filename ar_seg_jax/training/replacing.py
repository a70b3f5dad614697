"""What a method gives in place of a part of the state: checked, and put where the step expects it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path

from ar_seg_jax import sharding


def replaced(before: Any, given: Any, mesh: Mesh, giver: str) -> Any:
    """`given` in place of `before`, a tree of arrays: each is one of its own, on every device of the mesh.

    The step takes the memory of its state, which no two arrays may share, and would be compiled again for arrays that lie
    elsewhere. Raises ValueError with the name of a leaf that `giver` left out, added, or gave another shape or type.
    """
    old, new = _named(before), _named(given)
    if missing := old.keys() - new.keys():
        raise ValueError(f'{giver} gave no {", ".join(sorted(missing))}; it must give all that it was given')
    if added := new.keys() - old.keys():
        raise ValueError(f'{giver} gave {", ".join(sorted(added))}, which it was not given; what it keeps begins in Method.init')
    if jax.tree.structure(before) != jax.tree.structure(given):
        raise ValueError(f'{giver} gave other containers: {jax.tree.structure(given)} instead of {jax.tree.structure(before)}')
    everywhere = sharding.replicated(mesh)

    def placed(path, old, new):
        if new is old:
            return old
        new = jnp.asarray(new)
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise ValueError(
                f'{giver} gave {_name(path)} of shape {new.shape} and type {new.dtype}; expected {old.shape} and {old.dtype}, as '
                'Method.init gives it'
            )
        if jax.typeof(new).weak_type:  # of Python's numbers, for which the step would be compiled again too
            new = jnp.array(new, dtype=new.dtype)
        return jax.device_put(new, everywhere, may_alias=False)

    return tree_map_with_path(placed, before, given)


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in tree_leaves_with_path(tree)}


def _name(path) -> str:
    return keystr(path, simple=True, separator='/')
