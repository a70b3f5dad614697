"""Python imports this at its start where it is on the path: notes in the file AUDIT_LOG what a program and its children do.

A line for each change of a file, unpickled name, started program and network address: a JSON list of the event and its
paths or words. What C++ libraries do on their own is not seen.
"""

import json
import os
import sys
from pathlib import Path

_LOG = os.open(os.environ['AUDIT_LOG'], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Which arguments are paths that change, each with the argument that is the descriptor of the directory it is relative to.
_CHANGES = {
    'os.chmod': ((0, 2),),
    'os.chown': ((0, 3),),
    'os.link': ((1, 3),),
    'os.mkdir': ((0, 2),),
    'os.remove': ((0, 1),),
    'os.rename': ((0, 2), (1, 3)),
    'os.rmdir': ((0, 1),),
    'os.symlink': ((1, 2),),
    'os.truncate': ((0, None),),
    'os.utime': ((0, 3),),
}
_WORDS = ('pickle.find_class', 'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'socket.connect')


def _absolute(path, directory=-1):
    base = Path.cwd() if directory == -1 else Path(f'/proc/self/fd/{directory}').readlink()
    return os.path.normpath(base / os.fsdecode(path))


def _note(event, arguments):
    if event == 'open' and isinstance(arguments[0], (str, bytes)) and arguments[2] & _TO_WRITE:
        seen = [_absolute(arguments[0])]
    elif event in _CHANGES and not isinstance(arguments[0], int):
        seen = [_absolute(arguments[path], -1 if base is None else arguments[base]) for path, base in _CHANGES[event]]
    elif event in _WORDS:
        seen = [str(argument) for argument in arguments]
    else:
        return
    os.write(_LOG, json.dumps([event, *seen]).encode() + b'\n')


sys.addaudithook(_note)
