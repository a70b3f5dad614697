"""How two configs differ."""

from collections.abc import Mapping, Sequence
from typing import Any

Difference = tuple[str, Any, Any]


def between(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Keys whose values differ, as 'part.key', with both values; None where there is no such key."""
    one, other = _flat(one), _flat(other)
    keys = sorted(one.keys() | other.keys())
    return [(key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def words(found: Sequence[Difference], one: str, other: str) -> str:
    """A line that tells every difference; `one` and `other` are what the two are called."""
    return '; '.join(f'{key} is {first!r} in {one}, {second!r} in {other}' for key, first, second in found)


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {f'{prefix}{key}': value}
    return flat
