"""What the commands share: flags that fail with a sentence, errors without a traceback, processes, logging."""

import faulthandler
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import absl.logging
from absl import app, flags

from ar_seg_jax import processes
from ar_seg_jax.text import printable


def define_process_flags():
    """For commands that can run as several processes."""
    flags.DEFINE_integer('processes', 1, 'Processes to start on this machine.', lower_bound=1)
    flags.DEFINE_bool('distributed', False, 'Join the processes that Slurm, Open MPI or a TPU pod started on all machines.')
    flags.DEFINE_integer('heartbeat_seconds', 60, 'A process silent for this long ends all others.', lower_bound=1)


def run(main: Callable[[], int | None]):
    """Parses the flags and calls `main`; its return value is the exit status.

    What a user can mend (a wrong value or file, a full disk, diverged training) ends with a message and status 1, a wrong
    flag with status 2, Ctrl-C where nothing is to be saved with 130; anything else is a bug and shows its traceback. With
    --verbosity=1 all do.
    """

    def guarded(arguments: Sequence[str]) -> int | None:
        if len(arguments) > 1:
            return _fail(2, f'unexpected argument {arguments[1]!r}; every argument is a flag such as --config=...')
        absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax and TFDS tell every step of theirs through absl
        values = flags.FLAGS.flag_values_dict()
        place = processes.place()
        if place is None and values.get('processes', 1) > 1:
            return processes.start(values['processes'])
        if values.get('distributed') or (place and 'processes' in values):
            return _joined(main, place, values['heartbeat_seconds'])
        try:
            return main()
        except (ValueError, OSError, FloatingPointError) as error:
            if flags.FLAGS.verbosity > 0:
                raise
            return _fail(1, str(error))
        except KeyboardInterrupt:
            return _fail(130, 'interrupted')

    sys.unraisablehook = _unraisable
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger('ar_seg_jax')
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    app.run(guarded, flags_parser=_parse)


def _joined(main: Callable[[], int | None], place, heartbeat_seconds: int) -> int | None:
    """`main` as one of several processes. After an error it ends at once: an orderly end would wait for the others."""
    from ar_seg_jax.training import peers

    # JAX aborts when a peer is lost; its message should not be buried under the stacks of all threads.
    faulthandler.disable()
    try:
        peers.join(place, heartbeat_seconds)
        return main()
    except (ValueError, OSError, FloatingPointError) as error:
        if flags.FLAGS.verbosity > 0:
            traceback.print_exc()
        status = _fail(1, peers.explain(error))
    except KeyboardInterrupt:
        status = _fail(130, 'interrupted')
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(arguments))
    except flags.Error as error:
        sys.exit(_fail(2, f'{error} See --help.'))
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError) as error:
        # ml_collections quotes its message, the wrong key and the one that was probably meant, like a string in a string.
        message = str(error.args[0]).replace('\\n', '. ').replace('\\', '').strip("'")
        sys.exit(_fail(2, f'wrong key or value in the config: {message}'))


def _unraisable(found):
    # Orbax leaves callbacks behind for each file that it could not read or write; the failure itself is reported once.
    if not (isinstance(found.exc_value, RuntimeError) and 'Event loop is closed' in str(found.exc_value)):
        sys.__unraisablehook__(found)


def _fail(status: int, message: str) -> int:
    print(printable(f'error: {message}'), file=sys.stderr, flush=True)
    return status
