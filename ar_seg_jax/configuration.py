"""What is done with configs: a part of one names what it wants and gives its options; values are checked; two are compared."""

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from ar_seg_jax.errors import UserError

Difference = tuple[str, Any, Any]

_OF_FLAX = ('name', 'parent')  # which every module takes, and no config sets


def choose(known: Mapping[str, Callable], section: str, options: Mapping[str, Any], **given: Any) -> Any:
    """`known[options['name']]`, called with the other options and with what is `given`, all as keywords.

    section: what messages call the options, such as 'config.method'. Raises UserError as `named` does. What the function itself
    raises is its own.
    """
    function, options = named(known, section, options, given)
    return function(**options, **given)


def named(
    known: Mapping[str, Callable], section: str, options: Mapping[str, Any], given: Iterable[str] = ()
) -> tuple[Callable, dict[str, Any]]:
    """`known[options['name']]` and the other options, which it can be called with, beside the parameters that are `given`.

    Raises UserError for a name that is not known, and as `check_options` does.
    """
    options = dict(options)
    name = options.pop('name', None)
    if name not in known:
        raise UserError(f'{section}.name: {unknown(name, known)}')
    check_options(known[name], section, options, given, title=f'{section} of {name!r}')
    return known[name], options


def check_options(function: Callable, section: str, options: Mapping[str, Any], given: Iterable[str] = (), title: str = ''):
    """UserError for options that are not among the parameters of `function`, missing, or of another type.

    given: parameters that are none of the options. title: what messages call all options together; `section` if empty.
    """
    title = title or section
    parameters = inspect.signature(function).parameters
    wanted = {key: parameter for key, parameter in parameters.items() if key not in {*given, *_OF_FLAX}}
    for key, value in options.items():
        if key not in wanted:
            raise UserError(f'{title}: {unknown(key, wanted)}')
        check_type(f'{section}.{key}', value, wanted[key].annotation)
    missing = [key for key, parameter in wanted.items() if parameter.default is parameter.empty and key not in options]
    if missing:
        raise UserError(f'{title} lacks {", ".join(missing)}')


def unknown(found: Any, known: Iterable[str]) -> str:
    """In words, that `found` is not among the names that are `known`."""
    near = difflib.get_close_matches(str(found), list(known), n=1)
    meant = f'; did you mean {near[0]!r}?' if near else ''
    return f'there is no {found!r}, the names are {", ".join(sorted(known))}{meant}'


def check_type(place: str, value: Any, annotation: Any):
    """UserError, about `place`, if a value has not the type, or is none of the values, that an annotation asks for.

    Numbers without a fraction are floats too, lists are tuples too, and of both the elements are looked at, as are the values of
    a mapping. Of `int | Sequence[int]` the first that the value can be is what it has to be. Annotations that no config can hold
    are not looked at.
    """
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is types.UnionType:
        _check_one_of(place, value, arguments)
        return
    if origin is Literal:
        if value not in arguments:
            raise UserError(f'{place} is one of {", ".join(map(str, arguments))}; found {value!r}')
        return
    if origin in _JSON and not _is(value, origin):
        hint = f'; a list of one is ({value!r},)' if list in _JSON[origin] and isinstance(value, str) else ''
        raise UserError(f'{place}: expected {_WORDS[origin]}, found {value!r}{hint}')
    if origin is Mapping and arguments:
        for key, element in value.items():
            check_type(f'{place}.{key}', element, arguments[1])
    elif (origin is Sequence and arguments) or (origin is tuple and Ellipsis in arguments):
        for index, element in enumerate(value):
            check_type(f'{place}[{index}]', element, arguments[0])


def _check_one_of(place: str, value: Any, annotations: Sequence[Any]):
    """`check_type` for what may have one of several types."""
    origins = [typing.get_origin(annotation) or annotation for annotation in annotations]
    if not all(origin in _JSON for origin in origins):
        return
    for origin, annotation in zip(origins, annotations, strict=True):
        if _is(value, origin):
            check_type(place, value, annotation)
            return
    raise UserError(f'{place}: expected {" or ".join(_WORDS[origin] for origin in origins)}, found {value!r}')


def _is(value: Any, origin: Any) -> bool:
    """Whether a value is of a type of `_JSON`, whatever its elements are."""
    return isinstance(value, _JSON[origin]) and (origin is bool or not isinstance(value, bool))


def check_types(config: Mapping[str, Any], expected: Mapping[str, Any], place: str):
    """UserError, about `place`, unless `config` has all keys of `expected`, whose values are annotations or such a mapping."""
    for key, annotation in expected.items():
        if key not in config:
            raise UserError(f'{place}: lacks {key!r}')
        if isinstance(annotation, Mapping):
            check_type(f'{place}: {key}', config[key], Mapping)
            check_types(config[key], annotation, f'{place}: {key}')
        else:
            check_type(f'{place}: {key}', config[key], annotation)


_JSON: Mapping[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    tuple: (tuple, list),
    Sequence: (tuple, list),
    Mapping: (dict,),
}
_WORDS = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    tuple: 'a list',
    Sequence: 'a list',
    Mapping: 'keys with values',
}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Keys whose values differ, as 'part.key', with both values; None where there is no such key."""
    one, other = _flat(one), _flat(other)
    keys = sorted(one.keys() | other.keys())
    return [(key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def in_words(found: Sequence[Difference], one: str, other: str) -> str:
    """A line that tells every difference; `one` and `other` are what the two are called."""
    return '; '.join(f'{key} is {first!r} in {one}, {second!r} in {other}' for key, first, second in found)


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {f'{prefix}{key}': value}
    return flat
