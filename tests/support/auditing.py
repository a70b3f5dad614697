"""Programs under an audit, which tells what they changed, unpickled and started."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import commands

_CHANGES = ('os.chmod', 'os.chown', 'os.link', 'os.mkdir', 'os.remove', 'os.rename', 'os.rmdir', 'os.symlink', 'os.utime')


@dataclasses.dataclass(frozen=True)
class Audit:
    """A finished program and what it did: lists of an event of `sys.audit` and its paths or words."""

    done: subprocess.CompletedProcess
    events: list[list[str]]

    def named(self, *names):
        return [event for event in self.events if event[0].startswith(names)]

    def changes_outside(self, *allowed):
        """Files that were changed elsewhere than below the allowed directories.

        /proc/self/comm, the name of a thread, is; and where Matplotlib keeps its list of fonts, below the home directory.
        """
        changes = [event for event in self.events if event[0] in ('open', 'os.truncate') or event[0] in _CHANGES]
        return [
            (event, path)
            for event, *paths in changes
            for path in paths
            if path not in ('/proc/self/comm', '/dev/null')
            and not re.search(r'/home/\.(config|cache)(/matplotlib.*)?$', path)
            and not any(Path(path).is_relative_to(os.path.realpath(place)) for place in allowed)
        ]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run of a few steps that `main` made under an audit.

    base: holds all of it, the runs in `runs`. directory: of the run.
    """

    base: Path
    directory: Path
    data_dir: Path
    audit: Audit

    @property
    def programs(self) -> Path:
        """Where further runs find its compiled programs."""
        return self.base / 'home' / '.cache' / 'ar_seg_jax'

    @property
    def done(self) -> subprocess.CompletedProcess:
        return self.audit.done


def audited(base, *arguments, timeout=300) -> Audit:
    """Python with these arguments, as an Audit. Its home and its directory for temporary files are `base`/home and `base`/tmp.

    Byte code is not written, so that what is left are the program's own files.
    """
    for name in ('home', 'tmp'):
        (base / name).mkdir(exist_ok=True)
    log = base / 'audit.log'
    log.unlink(missing_ok=True)
    environment = commands.environment(
        AUDIT_LOG=str(log),
        HOME=str(base / 'home'),
        PYTHONDONTWRITEBYTECODE='1',
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parent / 'audit'), str(commands.ROOT)]),
        TMPDIR=str(base / 'tmp'),
    )
    environment.pop('XDG_CACHE_HOME', None)
    line = [sys.executable, *map(str, arguments)]
    done = subprocess.run(line, cwd=base, env=environment, capture_output=True, text=True, errors='replace', timeout=timeout)
    return Audit(done, [json.loads(event) for event in log.read_text().splitlines()])


def trained(base) -> Trained:
    """Six steps, with everything that a run can leave; those that are there already, if another worker made them."""
    directory, data_dir, told = base / 'runs' / 'whole', base / 'tfds', base / 'told.json'
    if not told.exists():
        directory.parent.mkdir(parents=True)
        fixed = (f'--config.data.data_dir={data_dir}', '--config.steps=6', f'--workdir={directory}')
        config = f'--config={commands.ROOT / "configs" / "textures.py"}'
        audit = audited(base, '-m', 'ar_seg_jax.main', config, *commands.TINY, *fixed)
        assert audit.done.returncode == 0, audit.done.stderr
        told.write_text(json.dumps([vars(audit.done), audit.events]))
    done, events = json.loads(told.read_text())
    return Trained(base, directory, data_dir, Audit(subprocess.CompletedProcess(**done), events))
