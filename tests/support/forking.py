"""Modules run as commands, each in a process of its own that begins with what all of them import.

    python tests/support/forking.py

Importing other people's packages takes longer than what most tests ask of a command. Reads requests, one a line, as JSON (module,
arguments, environment, directory, and the files stdout and stderr), and answers each with the exit status. Nothing of our own is
imported before, so that what it imports, and when, is what it would be.
"""

import importlib
import json
import os
import runpy
import sys

_IMPORTS = (
    'flax.linen', 'grain', 'optax', 'orbax.checkpoint', 'scipy.optimize', 'scipy.stats', 'sklearn.cluster', 'skimage.transform',
    'tensorflow_datasets',
)  # fmt: skip


def main():
    for name in _IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _become(request)
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(request):
    """This process runs the module, and ends as that does."""
    for descriptor, path in enumerate((os.devnull, request['stdout'], request['stderr'])):
        os.dup2(os.open(path, os.O_WRONLY if descriptor else os.O_RDONLY), descriptor)
    os.environ.clear()
    os.environ.update(request['environment'])
    os.chdir(request['directory'])
    sys.path[0] = request['directory']
    sys.argv = [request['module'], *request['arguments']]
    sys.orig_argv = [sys.executable, '-m', *sys.argv]  # of which commands start more of themselves
    runpy.run_module(request['module'], run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
