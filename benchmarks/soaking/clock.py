"""A clock that leaps for one program only, while that of the machine stays: libfaketime (Debian's package of this name)."""

from pathlib import Path

_PLACES = '/usr/lib/*/faketime/libfaketimeMT.so.1'


class Clock:
    """The clock of the programs that run in its environment; time that only runs forward (CLOCK_MONOTONIC) stays right."""

    def __init__(self, directory: Path, library: Path):
        self._offset, self._library = directory / 'offset', library
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def found(cls, directory: Path) -> 'Clock | None':
        """None where libfaketime is not installed."""
        libraries = sorted(Path('/').glob(_PLACES[1:]))
        return cls(directory, libraries[0]) if libraries else None

    def set_right(self) -> dict[str, str]:
        """The environment of a program, whose clock is right until `leap`."""
        self.leap(0)
        return {
            'LD_PRELOAD': str(self._library),
            'FAKETIME_TIMESTAMP_FILE': str(self._offset),
            'FAKETIME_CACHE_DURATION': '1',  # seconds until it looks into the file again
            'FAKETIME_DONT_FAKE_MONOTONIC': '1',
            'NO_FAKE_STAT': '1',  # times of files stay what they are when a clock is set
        }

    def leap(self, hours: float):
        """Away from the right time."""
        beside = self._offset.with_suffix('.new')
        beside.write_text(f'{3600 * hours:+.0f}')
        beside.replace(self._offset)
