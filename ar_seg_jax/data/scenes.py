"""Random scenes of solids on a floor, at three levels of difficulty.

plain: as CLEVR has it, one camera and three lights that never move, a grey floor, and solids of one of eight colours, of rubber
    or of metal.
textured: as CLEVRTEX has it, the floor and each solid have patterns and colours of their own, camera and lights move a little.
camouflage: the same, but all solids have the pattern and the colours of the floor; only shading, shadows and the cut of the
    pattern tell them from it.
"""

import colorsys
import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from ar_seg_jax.data import patterns, raytracing
from ar_seg_jax.data.patterns import Pattern
from ar_seg_jax.data.raytracing import SHAPES, Camera, Light, Scene, Solid

LEVELS = ('plain', 'textured', 'camouflage')
# Of CLEVR: grey, red, blue, green, brown, purple, cyan, yellow.
_COLOURS = (
    (87, 87, 87),
    (173, 35, 35),
    (42, 75, 215),
    (29, 105, 20),
    (129, 74, 25),
    (129, 38, 192),
    (41, 208, 208),
    (255, 238, 51),
)
_PLAIN_SHAPES = ('sphere', 'cube', 'cylinder')
_FACTORS = {'sphere': 1.0, 'cube': 0.76, 'cylinder': 0.88, 'prism': 0.82}  # on radii, so that all shapes look equally large
_RADII = (0.42, 0.75)
_METAL = 0.8  # what it reflects
_EXTENT = 2.5  # radius of the disc on the floor in which the centres of solids lie
_GAP = 0.2  # between the circles around two solids
_PLACES = 60  # that are tried for a solid before the scene is begun again
_FLOOR_ALBEDO = 0.42
_CAMERA = Camera(np.array([6.6, -5.6, 5.0], np.float32), np.array([0.05, -0.04, 0.3], np.float32), np.radians(36.0))
_LIGHTS = (
    Light(np.array([4.5, 3.5, 6.0], np.float32), 0.9, 34.0),
    Light(np.array([-2.5, -7.0, 4.5], np.float32), 1.2, 5.0),
    Light(np.array([-4.0, 2.0, 6.0], np.float32), 1.0, 7.0),
)
_AMBIENT = 0.13
_JITTER = 0.4  # of the coordinates of camera and lights, where they move
_SEEN = 0.4  # least share of the pixels of a solid that no other one may hide
_AREA = 0.005  # least share of the image that each solid covers


def picture(
    seed: Sequence[int], level: str, size: int, fewest: int, most: int
) -> tuple[UInt8[np.ndarray, '{size} {size} 3'], UInt8[np.ndarray, '{size} {size}']]:
    """A scene of `fewest` to `most` solids, drawn from a seed: its image, and its instances, 0 for the floor."""
    rng = np.random.default_rng(seed)
    return raytracing.render(draw(rng, level, size, fewest, most), size, rng)


def draw(rng: np.random.Generator, level: str, size: int, fewest: int, most: int) -> Scene:
    """A scene of `fewest` to `most` solids, each of which can be seen well enough in an image of `size` pixels.

    Scenes in which others hide more than 60 % of a solid, or in which it covers less than 0.5 % of the image, are drawn again.
    """
    while True:
        scene = _scene(rng, level, int(rng.integers(fewest, most + 1)))
        seen, alone = raytracing.visible(scene, size)
        if (seen >= np.maximum(_SEEN * alone, _AREA * size**2)).all():
            return scene


def _scene(rng: np.random.Generator, level: str, count: int) -> Scene:
    if level == 'plain':
        solids = [_coloured(rng, solid) for solid in _solids(rng, count, _PLAIN_SHAPES)]
        return Scene(solids, _uniform(np.full(3, _FLOOR_ALBEDO)), _CAMERA, _LIGHTS, _AMBIENT)
    floor = patterns.draw(rng, _two_colours(rng), rng.uniform(0.5, 1.2))
    solids = _solids(rng, count, tuple(SHAPES))
    if level == 'textured':
        solids = [
            dataclasses.replace(solid, pattern=patterns.draw(rng, _two_colours(rng), rng.uniform(0.8, 1.8))) for solid in solids
        ]
    else:
        solids = [dataclasses.replace(solid, pattern=floor.moved(rng.uniform(0, 1, 3).astype(np.float32))) for solid in solids]
    camera = dataclasses.replace(_CAMERA, eye=_moved(rng, _CAMERA.eye))
    lights = [dataclasses.replace(light, place=_moved(rng, light.place)) for light in _LIGHTS]
    return Scene(solids, floor, camera, lights, _AMBIENT)


def _solids(rng: np.random.Generator, count: int, shapes: Sequence[str]) -> list[Solid]:
    """Solids without colours, uniformly drawn but for the places, which leave gaps between them."""
    while True:
        solids, circles = [], []  # x, y and radius of the circles around them
        for _ in range(count):
            shape = str(rng.choice(shapes))
            radius = float(rng.choice(_RADII)) * _FACTORS[shape]
            circle = radius * SHAPES[shape].girth
            away, direction = _EXTENT * np.sqrt(rng.uniform(size=_PLACES)), rng.uniform(0, 2 * np.pi, _PLACES)
            places = np.stack([away * np.cos(direction), away * np.sin(direction)], axis=1)
            free = [place for place in places if all(np.hypot(*(place - c[:2])) > circle + c[2] + _GAP for c in circles)]
            if not free:
                break
            x, y = map(float, free[0])
            circles.append(np.array([x, y, circle]))
            solids.append(Solid(shape, x, y, radius, float(rng.uniform(0, 2 * np.pi)), _uniform(np.ones(3))))
        else:
            return solids


def _coloured(rng: np.random.Generator, solid: Solid) -> Solid:
    """In one of the colours, of rubber or metal."""
    colour = np.array(_COLOURS[rng.integers(len(_COLOURS))]) / 255
    shine = _METAL * float(rng.integers(2))
    return dataclasses.replace(solid, pattern=_uniform(_linear(colour)), shine=shine)


def _uniform(colour: Float[np.ndarray, '3']) -> Pattern:
    return Pattern('plain', np.stack([colour, colour]).astype(np.float32))


def _two_colours(rng: np.random.Generator) -> Float[np.ndarray, '2 3']:
    """Linear RGB of two colours that differ in brightness, and somewhat in hue."""
    hue, saturation = rng.uniform(), rng.uniform(0.1, 0.8)
    bright, dark = rng.uniform(0.6, 0.95), rng.uniform(0.15, 0.5)
    other = hue + rng.normal(0, 0.12)
    pair = [colorsys.hsv_to_rgb(hue % 1, saturation, bright), colorsys.hsv_to_rgb(other % 1, saturation, dark)]
    return _linear(rng.permutation(np.array(pair)))


def _moved(rng: np.random.Generator, place: Float[np.ndarray, '3']) -> Float[np.ndarray, '3']:
    return (place + rng.uniform(-_JITTER, _JITTER, 3)).astype(np.float32)


def _linear(colour: Float[np.ndarray, '...']) -> Float[np.ndarray, '...']:
    """Linear light of sRGB in [0, 1]."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
