"""Procedural surfaces: two colours, mixed by a function of the place in space, so that any cut through it shows the pattern."""

import dataclasses

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, '3 points']
Shares = Float[np.ndarray, ' points']

_WAVES = 12  # of the noise: a sum of plane waves in random directions, which has no lattice that could be seen


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """What a surface is coloured with.

    kind: one of KINDS. colours: two of linear RGB in [0, 1]. frequency: periods to a unit of length. angle: by which the pattern
    is turned about the vertical, radians. shift: by which it is moved, periods. waves: wave vectors of its noise, radians to a
    period. phases: of these waves, radians.
    """

    kind: str
    colours: Float[np.ndarray, '2 3']
    frequency: float = 1.0
    angle: float = 0.0
    shift: Float[np.ndarray, '3'] = dataclasses.field(default_factory=lambda: np.zeros(3, np.float32))
    waves: Float[np.ndarray, 'waves 3'] = dataclasses.field(default_factory=lambda: np.zeros((0, 3), np.float32))
    phases: Float[np.ndarray, ' waves'] = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))

    def albedo(self, points: Points) -> Points:
        """Linear RGB at these places."""
        if self.kind == 'plain':
            return np.broadcast_to(self.colours[0][:, None], points.shape)
        places = np.float32(self.frequency) * (turn(self.angle) @ points) + self.shift[:, None]
        noise = np.cos(self.waves @ places + self.phases[:, None]).sum(0) * np.float32((2 / len(self.phases)) ** 0.5)
        share = KINDS[self.kind](places, noise)
        first, second = self.colours[..., None]
        return (first + (second - first) * share) * (1 + np.float32(0.08) * np.clip(noise, -2, 2))

    def moved(self, shift: Float[np.ndarray, '3']) -> 'Pattern':
        """The same pattern, cut elsewhere."""
        return dataclasses.replace(self, shift=self.shift + shift)


def draw(rng: np.random.Generator, colours: Float[np.ndarray, '2 3'], frequency: float) -> Pattern:
    """A pattern of any kind but the plain one."""
    directions = rng.normal(size=(_WAVES, 3))
    lengths = 2 * np.pi * rng.uniform(0.4, 1.6, (_WAVES, 1))
    waves = directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths
    return Pattern(
        kind=str(rng.choice(list(KINDS))),
        colours=colours.astype(np.float32),
        frequency=frequency,
        angle=float(rng.uniform(0, 2 * np.pi)),
        shift=np.append(rng.uniform(0, 1, 2), 0.5).astype(np.float32),
        waves=waves.astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, _WAVES).astype(np.float32),
    )


def turn(angle: float) -> Float[np.ndarray, '3 3']:
    """The rotation about the vertical by an angle, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _checks(places: Points, noise: Shares) -> Shares:
    return np.floor(places).sum(0) % 2


def _stripes(places: Points, noise: Shares) -> Shares:
    return _step(np.sin(2 * np.pi * (places[0] + 0.03 * noise)))


def _dots(places: Points, noise: Shares) -> Shares:
    return _step(4 * (0.35 - np.sqrt(((places - np.floor(places) - 0.5) ** 2).sum(0))))


def _clouds(places: Points, noise: Shares) -> Shares:
    return _step(noise / 2)


def _spots(places: Points, noise: Shares) -> Shares:
    return _step(4 * (noise - 0.8))


def _marble(places: Points, noise: Shares) -> Shares:
    return np.abs(np.sin(np.pi * (places[0] + 0.5 * places[2] + 0.5 * noise)))


def _wood(places: Points, noise: Shares) -> Shares:
    rings = 2 * np.hypot(places[0] + 2.5, places[2]) + 0.3 * noise
    return rings - np.floor(rings)


def _bricks(places: Points, noise: Shares) -> Shares:
    row = np.floor(2 * (places[1] + places[2]))
    along = places[0] + 0.5 * (row % 2)
    across = 2 * (places[1] + places[2]) - row
    gap = np.minimum(np.minimum(across, 1 - across), 2 * np.abs(along - np.round(along)))
    return _step(12 * (0.1 - gap))


def _step(x: Shares) -> Shares:
    """From 0 at -1 to 1 at 1, steeply in between."""
    return np.clip(0.5 + x, 0, 1)


# Each gives the share of the second colour, from places in periods and from the noise there, whose mean is 0 and deviation 1.
KINDS = {
    'checks': _checks,
    'stripes': _stripes,
    'dots': _dots,
    'clouds': _clouds,
    'spots': _spots,
    'marble': _marble,
    'wood': _wood,
    'bricks': _bricks,
}
