"""Damage to files: flipped bits, overwritten bytes, a lost end, a lost file."""

import random
from pathlib import Path

_KINDS = ('flipped', 'overwritten', 'truncated', 'removed')


def harm(path: Path, rng: random.Random, kinds: tuple[str, ...] = _KINDS) -> str:
    """Damages a file in one of these ways; in words, how."""
    content, kind = bytearray(path.read_bytes()), rng.choice(kinds)
    if kind == 'removed' or not content:
        path.unlink()
        return 'removed'
    place = rng.randrange(len(content))
    if kind == 'flipped':
        content[place] ^= 1 << rng.randrange(8)
    elif kind == 'overwritten':
        end = min(place + rng.randint(1, 64), len(content))
        content[place:end] = rng.randbytes(end - place)
    else:
        del content[place:]
    path.write_bytes(content)
    return f'{kind} at byte {place}'


def any_file(directory: Path, rng: random.Random, pattern: str = '**/*') -> Path | None:
    """One of the files below a directory; None if there is none."""
    found = sorted(path for path in directory.glob(pattern) if path.is_file())
    return rng.choice(found) if found else None
