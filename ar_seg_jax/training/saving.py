"""A save beside the training."""

import threading
from collections.abc import Callable


class Save(threading.Thread):
    """A save under way: `write` runs in a thread, of which the end of the program does not wait.

    error: what it ended with, if it failed. late: whether training has waited for it in vain.
    """

    def __init__(self, step: int, write: Callable[[], None]):
        super().__init__(name=f'save of step {step}', daemon=True)
        self.step, self._write = step, write
        self.error: Exception | None = None
        self.late = False
        self.start()

    def run(self):
        try:
            self._write()
        except Exception as error:  # of every type: TensorStore, Orbax and the operating system have their own
            self.error = error
        finally:
            del self._write  # with its copy of the state

    def ended(self, seconds: float) -> bool:
        """Whether it has, after so many seconds at most."""
        self.join(seconds)
        return not self.is_alive()
