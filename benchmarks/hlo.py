"""What the text of a compiled program says about its arrays."""

import dataclasses
import math
import re

_SHAPE = re.compile(r'(?P<type>[a-z]+\d*)\[(?P<sides>[\d,]*)\]')
_BYTES = {'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'f16': 2, 'bf16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'f64': 8}


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a program."""

    type: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return _BYTES[self.type] * math.prod(self.shape)


def arrays(text: str) -> list[Array]:
    """All shapes in a piece of HLO that has nothing else in brackets, in their order; KeyError from `bytes` of unknown types."""
    return [
        Array(match['type'], tuple(int(side) for side in match['sides'].split(',') if side)) for match in _SHAPE.finditer(text)
    ]


def largest(program: str) -> Array:
    """The one with most bytes of a whole program, be it stored or only computed on the way."""
    return max(_of_program(program), key=lambda array: array.bytes)


def squares(program: str, side: int) -> list[Array]:
    """Arrays of a whole program with two axes or more that are at least `side` long."""
    return [array for array in _of_program(program) if sum(length >= side for length in array.shape) >= 2]


def _of_program(program: str) -> set[Array]:
    return {array for array in arrays(program) if array.type in _BYTES}  # and not `devices=[2,4]`
