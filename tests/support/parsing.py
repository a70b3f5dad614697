"""A program that has other programs of ours parse their flags, and nothing else, and tells what they say of them.

It reads [[module, arguments], ...] as JSON from its standard input and writes one text for each, '' for flags that are taken.
"""

import json
import os
import runpy
import sys

from ar_seg_jax import cli


def told(module: str, arguments: list[str]) -> str:
    """In a process of its own, since the flags of a process are those of one program."""
    reading, writing = os.pipe()
    if not os.fork():
        os.dup2(writing, sys.stderr.fileno())
        cli.run = lambda main, arguments=(): sys.exit(len(cli._parse(sys.argv)) - 1 - len(arguments))
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name='__main__')
    os.close(writing)
    with os.fdopen(reading) as found:
        text = found.read()
    _, status = os.wait()
    return text or (f'exit status {status}' if status else '')


if __name__ == '__main__':
    print(json.dumps([told(module, arguments) for module, arguments in json.load(sys.stdin)]))
