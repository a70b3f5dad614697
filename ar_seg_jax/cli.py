"""What the three commands share: flags that fail with a sentence, errors without a traceback, logging."""

import logging
import sys
from collections.abc import Callable, Sequence

import absl.logging
from absl import app, flags


def run(main: Callable[[], int | None]):
    """Parses the flags and calls `main`; its return value is the exit status.

    What a user can mend (a wrong value or file, a full disk, diverged training) ends with a message and status 1, a wrong
    flag with status 2; anything else is a bug and shows its traceback. With --verbosity=1 all do.
    """

    def guarded(arguments: Sequence[str]) -> int | None:
        if len(arguments) > 1:
            return _fail(2, f'unexpected argument {arguments[1]!r}; every argument is a flag such as --config=...')
        absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax and TFDS tell every step of theirs through absl
        try:
            return main()
        except (ValueError, OSError, FloatingPointError) as error:
            if flags.FLAGS.verbosity > 0:
                raise
            return _fail(1, str(error))

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger('ar_seg_jax')
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    app.run(guarded, flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(arguments))
    except flags.Error as error:
        sys.exit(_fail(2, f'{error} See --help.'))
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError) as error:
        # ml_collections quotes its message, the wrong key and the one that was probably meant, like a string in a string.
        message = str(error.args[0]).replace('\\n', '. ').replace('\\', '').strip("'")
        sys.exit(_fail(2, f'wrong key or value in the config: {message}'))


def _fail(status: int, message: str) -> int:
    print(f'error: {message}', file=sys.stderr)
    return status
