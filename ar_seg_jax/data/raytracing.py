"""A small ray tracer in numpy: convex solids on a floor, area lights with soft shadows, highlights, and exact instance masks.

Nine rays are traced for each pixel, in a grid whose middle one goes through its centre and says whose pixel it is. Each ray sends
one ray to each light, to one of nine points that are spread over the light and differ between pixels. Irradiance is that of a
point at the centre of the light; ambient light is dimmed near other solids, as if these were spheres. Directions of space: x and
y on the floor, z upwards. Arrays of vectors have the three coordinates first, which is what makes them quick.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ar_seg_jax.data.patterns import Pattern, turn

Vectors = Float[np.ndarray, '3 rays']
Numbers = Float[np.ndarray, ' rays']

FLOOR = -1  # whose pixels are not those of a solid
_RAYS = 3  # to a pixel, along each side
_AT_ONCE = 18_432  # rays that are traced together: few enough for their arrays to stay in the caches
_SQUARE = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
_HEXAGON = np.array([[1, 0, 0], [0.5, 0.75**0.5, 0], [-0.5, 0.75**0.5, 0]], np.float32)
_HEIGHT = np.array([[0, 0, 1]], np.float32)
_NO_SLABS = np.zeros((0, 3), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """A convex solid around the origin: all points v with |m v| <= 1 for every row m of `slabs` and, over `axes`, |v| <= 1.

    girth: radius of the circle around it, seen from above.
    """

    slabs: Float[np.ndarray, 'slabs 3']
    axes: int
    girth: float

    @property
    def bound(self) -> float:
        """Radius of the sphere around it."""
        return 1.0 if self.axes == 3 else (1 + self.girth**2) ** 0.5

    def interval(self, origins: Float[np.ndarray, '3 #rays'], directions: Vectors) -> tuple[Numbers, Numbers]:
        """Where rays go in and where out, in lengths of their directions; a ray that misses goes out before it goes in."""
        enter, leave = [], []
        if self.axes:
            o, d = origins[: self.axes], directions[: self.axes]
            a, b, c = _dot(d, d), _dot(o, d), _dot(o, o) - 1
            root = b * b - a * c
            half = np.where(root > 0, np.sqrt(np.maximum(root, 0)), np.nan)  # nothing is larger or smaller than nan: a miss
            enter, leave = [(-b - half) / a], [(half - b) / a]
        for slab in self.slabs:
            speed, place = slab @ directions, slab @ origins
            inverse = 1 / np.where(np.abs(speed) < 1e-9, np.float32(1e-9), speed)
            middle, half = -place * inverse, np.abs(inverse)
            enter, leave = [*enter, middle - half], [*leave, middle + half]
        return np.maximum.reduce(enter), np.minimum.reduce(leave)

    def normals(self, points: Vectors) -> Vectors:
        """Outward unit normals at points of the surface."""
        found = np.zeros_like(points)
        out = np.full(points.shape[1], -np.inf, np.float32)  # how near the points are to the face that was the nearest so far
        if self.axes:
            found[: self.axes] = points[: self.axes]
            out = np.sqrt(_dot(found, found))
        for slab in self.slabs:
            place = slab @ points
            here = np.abs(place) > out
            out = np.where(here, np.abs(place), out)
            found = np.where(here, slab[:, None] * np.sign(place), found)
        return found / np.sqrt(_dot(found, found))


SHAPES = {
    'sphere': Shape(_NO_SLABS, 3, 1.0),
    'cube': Shape(np.concatenate([_SQUARE, _HEIGHT]), 0, 2**0.5),
    'cylinder': Shape(_HEIGHT, 2, 1.0),
    'prism': Shape(np.concatenate([_HEXAGON, _HEIGHT]), 0, (4 / 3) ** 0.5),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Solid:
    """One of SHAPES, `radius` times its size, standing on the floor at x, y, turned by `angle` radians.

    shine: what a metal reflects; 0 for rubber.
    """

    shape: str
    x: float
    y: float
    radius: float
    angle: float
    pattern: Pattern
    shine: float = 0.0

    @property
    def centre(self) -> Float[np.ndarray, '3']:
        return np.array([self.x, self.y, self.radius], np.float32)

    @property
    def bound(self) -> float:
        """Radius of the sphere around it."""
        return self.radius * SHAPES[self.shape].bound

    def to_own(self, vectors: Vectors) -> Vectors:
        """Directions, in the coordinates of its shape."""
        return turn(-self.angle) @ vectors / np.float32(self.radius)


@dataclasses.dataclass(frozen=True, eq=False)
class Light:
    """A square that looks at the origin from a place that is not straight above it. half: of its side. radiance: linear."""

    place: Float[np.ndarray, '3']
    half: float
    radiance: float


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """field: angle from the left to the right edge of the image, radians."""

    eye: Float[np.ndarray, '3']
    target: Float[np.ndarray, '3']
    field: float

    def rays(self, size: int, rays: int = _RAYS) -> Vectors:
        """Unit directions, `rays` x `rays` to each of `size` x `size` pixels; rows of rays from the top, each from the left."""
        forward = _unit(self.target - self.eye)
        right = _unit(np.cross(forward, [0, 0, 1]))
        up = np.cross(right, forward)
        along = ((np.arange(size * rays) + 0.5) / (size * rays) * 2 - 1) * np.tan(self.field / 2)
        down, across = np.meshgrid(along, along, indexing='ij')
        return _unit(forward[:, None, None] + across * right[:, None, None] - down * up[:, None, None]).reshape(3, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """ambient: light from everywhere, as a share of what a white surface would reflect."""

    solids: Sequence[Solid]
    floor: Pattern
    camera: Camera
    lights: Sequence[Light]
    ambient: float


def visible(scene: Scene, size: int) -> tuple[Int[np.ndarray, ' solids'], Int[np.ndarray, ' solids']]:
    """Pixels of each solid that are seen, and those that would be if it were alone; from rays through the centres of pixels."""
    directions = scene.camera.rays(size, 1)
    alone = [hit.size for hit, _ in _hits(scene.solids, scene.camera.eye, directions)]
    whose = _first_hits(scene.solids, scene.camera.eye, directions)[1]
    return np.bincount(whose[whose != FLOOR], minlength=len(scene.solids)), np.array(alone, int)


def render(
    scene: Scene, size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, '{size} {size} 3'], UInt8[np.ndarray, '{size} {size}']]:
    """The image, and its instances: 0 for the floor, 1 for the first solid and so on."""
    directions, spread = scene.camera.rays(size), _spread(size, rng)
    parts = [slice(start, start + _AT_ONCE) for start in range(0, directions.shape[1], _AT_ONCE)]
    traced = [_traced(scene, directions[:, part], spread[:, part]) for part in parts]
    colours, whose = (np.concatenate(found, axis=-1) for found in zip(*traced, strict=True))
    grid = colours.reshape(3, size, _RAYS, size, _RAYS)
    image = np.moveaxis(_encoded(grid.mean(axis=(2, 4))), 0, -1)
    centres = whose.reshape(size, _RAYS, size, _RAYS)[:, _RAYS // 2, :, _RAYS // 2]
    return image, (centres - FLOOR).astype(np.uint8)


def _traced(scene: Scene, directions: Vectors, spread: Float[np.ndarray, '2 rays']) -> tuple[Vectors, Int[np.ndarray, ' rays']]:
    """The light that comes from each direction, linear RGB, and the number of the solid that it comes from, or FLOOR."""
    depth, whose = _first_hits(scene.solids, scene.camera.eye, directions)
    points = scene.camera.eye[:, None] + depth * directions
    normals, albedo, shine = _surfaces(scene, points, whose)
    other = whose != np.arange(len(scene.solids))[:, None]  # a convex solid shades itself as the cosine says, no more
    distances = _distances(scene.solids, points)
    colours = albedo * (scene.ambient * _openness(scene.solids, points, normals, distances, other))
    solid, metal = np.flatnonzero(whose != FLOOR), np.flatnonzero(shine)
    sharpness, gloss = np.where(shine[solid] > 0, np.float32(60), np.float32(12)), np.zeros(solid.size, np.float32)
    for light in scene.lights:
        arriving, towards = _irradiance(light, points, normals)
        arriving = arriving * _unshadowed(light, scene.solids, points, distances, other & (arriving > 0), spread)
        colours += albedo * arriving
        middle = _unit(towards[:, solid] - directions[:, solid])
        gloss += arriving[solid] * np.maximum(_dot(middle, normals[:, solid]), 0) ** sharpness
    colours[:, metal] *= np.float32(0.35)
    colours[:, solid] += np.where(shine[solid] > 0, np.float32(0.5), np.float32(0.08)) * gloss
    mirrored = directions[:, metal] - 2 * _dot(directions[:, metal], normals[:, metal]) * normals[:, metal]
    colours[:, metal] += shine[metal] * albedo[:, metal] * _surroundings(scene, mirrored)
    return colours, whose


def _hits(
    solids: Sequence[Solid], eye: Float[np.ndarray, '3'], directions: Vectors
) -> Iterator[tuple[Int[np.ndarray, ' hits'], Float[np.ndarray, ' hits']]]:
    """For each solid the rays from the eye that hit it, wherever the others are, and the distances."""
    for solid in solids:
        towards = solid.centre - eye
        near = np.flatnonzero(towards @ towards - (towards @ directions) ** 2 < solid.bound**2)
        enter, leave = SHAPES[solid.shape].interval(-solid.to_own(towards[:, None]), solid.to_own(directions[:, near]))
        yield near[enter < leave], enter[enter < leave]


def _first_hits(
    solids: Sequence[Solid], eye: Float[np.ndarray, '3'], directions: Vectors
) -> tuple[Numbers, Int[np.ndarray, ' rays']]:
    """Distance to what each ray from the eye meets first, and the number of the solid, or FLOOR."""
    depth = -eye[2] / np.minimum(directions[2], np.float32(-1e-2))  # a ray that does not go down meets the floor far away
    whose = np.full(depth.shape, FLOOR)
    for index, (hit, distance) in enumerate(_hits(solids, eye, directions)):
        closer = distance < depth[hit]
        depth[hit[closer]], whose[hit[closer]] = distance[closer], index
    return depth, whose


def _surfaces(scene: Scene, points: Vectors, whose: Int[np.ndarray, ' rays']) -> tuple[Vectors, Vectors, Numbers]:
    """Normal, albedo and shine of the points."""
    normals, albedo, shine = np.empty_like(points), np.empty_like(points), np.zeros_like(points[0])
    floor = np.flatnonzero(whose == FLOOR)
    normals[:, floor], albedo[:, floor] = _HEIGHT.T, scene.floor.albedo(points[:, floor])
    for index, solid in enumerate(scene.solids):
        here = np.flatnonzero(whose == index)
        own = solid.to_own(points[:, here] - solid.centre[:, None])
        normals[:, here] = turn(solid.angle) @ SHAPES[solid.shape].normals(own)
        albedo[:, here] = solid.pattern.albedo(own * np.float32(solid.radius))
        shine[here] = solid.shine
    return normals, albedo, shine


def _irradiance(light: Light, points: Vectors, normals: Vectors) -> tuple[Numbers, Vectors]:
    """What arrives at the points if nothing is in between, over pi, and the directions that it comes from."""
    towards = light.place[:, None] - points
    distance = np.sqrt(_dot(towards, towards))
    towards /= distance
    at_light = np.maximum(_unit(light.place) @ towards, 0)
    area = np.float32(4 * light.half**2 * light.radiance / np.pi)
    return area * np.maximum(_dot(towards, normals), 0) * at_light / distance**2, towards


def _unshadowed(
    light: Light,
    solids: Sequence[Solid],
    points: Vectors,
    distances: Float[np.ndarray, 'solids rays'],
    other: Bool[np.ndarray, 'solids rays'],
    spread: Float[np.ndarray, '2 rays'],
) -> Bool[np.ndarray, ' rays']:
    """Whether each point sees that point of the light which `spread`, in [-1, 1], chooses, past the `other` solids."""
    side = _unit(np.cross(light.place, [0, 0, 1]))
    across = _unit(np.cross(side, light.place))
    rays = light.place[:, None] + np.float32(light.half) * (side[:, None] * spread[0] + across[:, None] * spread[1]) - points
    along = _towards(solids, points, rays)
    gap = distances - along**2 / _dot(rays, rays)  # squared, between ray and centre
    passing = other & (along > 0) & (gap < np.array([solid.bound**2 for solid in solids], np.float32)[:, None])
    lit = np.ones(points.shape[1], bool)
    for solid, near in zip(solids, passing, strict=True):
        near = np.flatnonzero(near & lit)
        offset = points[:, near] - solid.centre[:, None]
        enter, leave = SHAPES[solid.shape].interval(solid.to_own(offset), solid.to_own(rays[:, near]))
        lit[near[(enter < leave) & (leave > 1e-4)]] = False
    return lit


def _openness(
    solids: Sequence[Solid],
    points: Vectors,
    normals: Vectors,
    distances: Float[np.ndarray, 'solids rays'],
    other: Bool[np.ndarray, 'solids rays'],
) -> Numbers:
    """Share of the ambient light that the `other` solids, taken as spheres, and the floor leave."""
    radii = np.array([solid.radius for solid in solids], np.float32)[:, None]
    facing = np.clip(_towards(solids, points, normals) / np.sqrt(distances), 0, 1)
    covered = other * facing * np.minimum(0.8 * radii**2 / distances, np.float32(0.9))
    return (0.7 + 0.3 * normals[2]) * np.prod(1 - covered, axis=0)


def _towards(solids: Sequence[Solid], points: Vectors, vectors: Vectors) -> Float[np.ndarray, 'solids rays']:
    """Of each solid the inner product of a vector at a point with the offset from there to the centre of the solid."""
    return _centres(solids) @ vectors - _dot(points, vectors)


def _distances(solids: Sequence[Solid], points: Vectors) -> Float[np.ndarray, 'solids rays']:
    """From each point to the centre of each solid, squared."""
    centres = _centres(solids)
    return (centres**2).sum(1, keepdims=True) - 2 * centres @ points + _dot(points, points)


def _centres(solids: Sequence[Solid]) -> Float[np.ndarray, 'solids 3']:
    return np.array([solid.centre for solid in solids], np.float32).reshape(-1, 3)


def _surroundings(scene: Scene, directions: Vectors) -> Numbers:
    """What a mirror sees: the floor, darkness above it, and the lights."""
    floor = np.float32(scene.floor.colours[0].mean() * 0.7)
    seen = np.where(directions[2] < 0, floor, np.float32(scene.ambient) + 0.1 * np.maximum(1 - directions[2], 0))
    for light in scene.lights:
        away = np.linalg.norm(light.place)
        width = np.float32(1.2 * (light.half / away) ** 2)
        seen = seen + np.float32(0.2 * light.radiance) * np.exp((light.place @ directions / np.float32(away) - 1) / width)
    return seen


def _spread(size: int, rng: np.random.Generator) -> Float[np.ndarray, '2 rays']:
    """For every ray a point in [-1, 1] x [-1, 1]; those of a pixel are evenly spread, and shifted by a random vector."""
    count = _RAYS**2
    index = np.arange(count).reshape(_RAYS, _RAYS)
    lattice = np.stack([index / count, 2 * index / count % 1]).astype(np.float32)  # of rank 1
    shifted = lattice[:, None, :, None, :] + rng.random((2, size, 1, size, 1), np.float32)
    return (2 * (shifted - (shifted >= 1)) - 1).reshape(2, -1)


def _encoded(linear: Float[np.ndarray, '...']) -> UInt8[np.ndarray, '...']:
    """sRGB of linear light; too much of it is white."""
    linear = np.clip(linear, 0, 1)
    return np.round(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(np.uint8)


def _dot(a: Float[np.ndarray, 'axes #rays'], b: Float[np.ndarray, 'axes #rays']) -> Float[np.ndarray, ' _']:
    return np.einsum('ij,ij->j', a, b)


def _unit(vectors: Float[np.ndarray, '3 *rays']) -> Float[np.ndarray, '3 *rays']:
    return (vectors / np.sqrt((vectors * vectors).sum(0))).astype(np.float32)
