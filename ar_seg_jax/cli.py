"""What the commands share: `ar-seg`, flags that fail with a sentence, errors without a traceback, processes, logging."""

import contextlib
import faulthandler
import functools
import logging
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence

import absl.logging
from absl import app, flags

from ar_seg_jax import processes
from ar_seg_jax.config_files import config_file
from ar_seg_jax.configuration import unknown
from ar_seg_jax.errors import UserError, printable
from ar_seg_jax.files import expanded

COMMANDS = (
    'train', 'evaluate', 'score', 'predict', 'report', 'export', 'sweep', 'select', 'merge', 'explore', 'figures', 'convert',
    'clean', 'doctor',
)  # fmt: skip

# Flags of the commands that name files and directories.
_PATHS = ('workdir', 'input', 'output', 'names', 'polygons', 'tables', 'data_dir', 'root', 'labels', 'predictions', 'classes')

_OVERRIDE = re.compile(r'--?config\.(?P<key>[\w.]+)(=.*)?')


def ar_seg():
    """The command `ar-seg`: `ar-seg predict` is `python -m ar_seg_jax.predict`, and `ar-seg train` is `... .main`."""
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name in ('', '-h', '--help'):
        print(f'usage: ar-seg {{{",".join(COMMANDS)}}} --help')
        sys.exit(0 if name else 2)
    if name not in COMMANDS:
        sys.exit(_fail(2, f'ar-seg: {unknown(name, COMMANDS)}'))
    del sys.argv[1]
    runpy.run_module(f'ar_seg_jax.{"main" if name == "train" else name}', run_name='__main__', alter_sys=True)


def define_process_flags():
    """For commands that can run as several processes."""
    flags.DEFINE_integer('processes', 1, 'Processes to start on this machine.', lower_bound=1)
    flags.DEFINE_bool('distributed', False, 'Join the processes that Slurm, Open MPI or a TPU pod started on all machines.')
    flags.DEFINE_integer('heartbeat_seconds', 60, 'A process silent for this long ends all others.', lower_bound=1)


def run(main: Callable[..., int | None], arguments: Sequence[str] = ()):
    """Parses the flags and calls `main`; its return value is the exit status.

    arguments: what messages call those that are no flags; `main` gets as many.

    What a user can mend (a wrong value or file, a full disk, diverged training) ends with a message and status 1, a wrong
    flag with status 2, Ctrl-C where nothing is to be saved with 130; anything else is a bug and shows its traceback. With
    --verbosity=1 all do.
    """

    def guarded(found: Sequence[str]) -> int | None:
        given = found[1:]
        if len(given) != len(arguments):
            return _fail(2, _wrong_arguments(given, arguments))
        values = flags.FLAGS.flag_values_dict()
        verbose = values['verbosity'] > 0
        absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax and TFDS tell every step of theirs; this also sets the flag
        processes.end_with_parent()
        place = processes.place()
        if place is None and values.get('processes', 1) > 1:
            return processes.start(values['processes'])
        if values.get('distributed') or (place and 'processes' in values):
            return _joined(functools.partial(main, *given), place, values['heartbeat_seconds'], verbose)
        try:
            status = main(*given)
            if sys.stdout:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails again when it ends
            status = _fail(1, 'nobody reads the output any more; what was to be written to files is there')
        except Exception as error:
            if verbose or not _mendable(error):
                raise
            status = _fail(1, str(error))
        except KeyboardInterrupt:
            status = _fail(130, 'interrupted')
        if status:
            _end(status)

    sys.unraisablehook = _unraisable
    if sys.stdout:
        sys.stdout.reconfigure(errors='backslashreplace')  # of names that the encoding of the terminal has not
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger('ar_seg_jax')
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    app.run(guarded, flags_parser=_parse)


def _wrong_arguments(given: Sequence[str], wanted: Sequence[str]) -> str:
    if not wanted:
        return f'unexpected argument {given[0]!r}; every argument is a flag such as --config=...'
    return f'expected the arguments {" ".join(wanted)}, found {" ".join(given) or "none"}'


def _joined(main: Callable[[], int | None], place, heartbeat_seconds: int, verbose: bool) -> int | None:
    """`main` as one of several processes. After an error it ends at once: an orderly end would wait for the others."""
    from ar_seg_jax.training import peers

    # JAX aborts when a peer is lost; its message should not be buried under the stacks of all threads.
    faulthandler.disable()
    try:
        peers.join(place, heartbeat_seconds)
        return main()
    except Exception as error:
        if verbose or not (_mendable(error) or peers.is_lost(error)):
            traceback.print_exc()
        status = _fail(1, peers.explain(error))
    except KeyboardInterrupt:
        status = _fail(130, 'interrupted')
    except BaseException:
        traceback.print_exc()
        status = 1
    _end(status)


def _end(status: int):
    """At once: what reads or saves in a thread and hangs would otherwise keep the process."""
    with contextlib.suppress(BrokenPipeError, AttributeError):  # nobody reads, or there is none
        sys.stdout.flush()
    os._exit(status)


def _mendable(error: Exception) -> bool:
    """Whether a message is enough: errors for users, and of the operating system about a file."""
    return isinstance(error, UserError) or (isinstance(error, OSError) and error.filename is not None)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        found = flags.FLAGS(_with_files(arguments))
        _expand_paths()
        return found
    except UserError as error:
        sys.exit(_fail(2, str(error)))
    except flags.Error as error:
        sys.exit(_fail(2, f'{error} See --help.'))
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError) as error:
        # ml_collections quotes its message, the wrong key and the one that was probably meant, like a string in a string.
        message = str(error.args[0]).replace('\\n', '. ').replace('\\', '').strip("'")
        sys.exit(_fail(2, f'wrong key or value in the config: {_wrong_key(arguments) or message}'))


def _expand_paths():
    """The home directory in place of ~, which a shell leaves as it is after a '='."""
    for name in _PATHS:
        if name not in flags.FLAGS or not flags.FLAGS[name].present:
            continue
        value = flags.FLAGS[name].value
        many = isinstance(value, list)
        flags.FLAGS[name].value = [str(expanded(one)) for one in value] if many else value and str(expanded(value))


def _wrong_key(arguments: Sequence[str]) -> str:
    """In words, the first --config.key that the config has not; '' if it has them all."""
    keys = [found['key'].split('.') for argument in arguments if (found := _OVERRIDE.fullmatch(argument))]
    files = [argument.partition('=')[2] for argument in _with_files(arguments) if argument.startswith('--config=')]
    if not files:
        return ''
    for key in keys:
        place = runpy.run_path(files[0])['get_config']()
        for depth, part in enumerate(key):
            above = '.'.join(['config', *key[:depth]])
            if not hasattr(place, 'keys'):
                return f'{above} is a value and has no {part!r}'
            if part not in place:
                return f'{above}: {unknown(part, place)}'
            place = place[part]
    return ''


def _with_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the file of a config where --config has its name: --config=textures."""
    arguments = list(arguments)
    for index, argument in enumerate(arguments):
        if argument in ('--config', '-config') and index + 1 < len(arguments):
            arguments[index : index + 2] = ['--config=' + arguments[index + 1], '']
        flag, equals, value = arguments[index].partition('=')
        if flag in ('--config', '-config') and equals:
            arguments[index] = f'--config={config_file(value)}'
    return [argument for argument in arguments if argument]


def _unraisable(found):
    # Orbax leaves callbacks behind for each file that it could not read or write; the failure itself is reported once.
    if not (isinstance(found.exc_value, RuntimeError) and 'Event loop is closed' in str(found.exc_value)):
        sys.__unraisablehook__(found)


def _fail(status: int, message: str) -> int:
    print(printable(f'error: {message}'), file=sys.stderr, flush=True)
    return status
