"""What users can mend, and how it is shown to them."""


class UserError(ValueError):
    """A wrong value, file or command; the message says what was found, what was expected and what to do.

    Commands print the message and nothing else. Every other error is a fault of the program, and shows where it happened.
    """


class Diverged(UserError):
    """Training whose numbers are not finite any more."""


class Stalled(UserError):
    """Data that do not come."""


def printable(text: str) -> str:
    """`text` on one line, with control characters, which can move the cursor or hide a line, as escapes such as \\x1b."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
