"""Text from files, and their names, on its way to a terminal."""


def printable(text: str) -> str:
    """`text` on one line, with control characters, which can move the cursor or hide a line, as escapes such as \\x1b."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
