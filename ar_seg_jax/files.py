"""Writing files whole or not at all."""

import tempfile
from pathlib import Path


def write(path: Path, content: bytes):
    """Writes beside the file and renames, so that no half file is left and no symbolic link is followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix='.', suffix='.partial', delete=False) as beside:
        try:
            beside.write(content)
            beside.close()
            Path(beside.name).chmod(0o644)  # that of a temporary file is for its owner only
            Path(beside.name).replace(path)
        finally:
            Path(beside.name).unlink(missing_ok=True)
