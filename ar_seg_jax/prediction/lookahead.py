"""Work that threads do ahead of those who need it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar('Item'), TypeVar('Result')


def in_order(work: Callable[[Item], Result], items: Iterable[Item], count: int) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Each item and a function that waits for its result, or raises what `work` raised, in the order of the items.

    Threads are `count` items ahead, no more, so that memory is bounded.
    """
    begun = deque()
    with ThreadPoolExecutor(count) as threads:
        for item in items:
            begun.append((item, threads.submit(work, item).result))
            if len(begun) == count:
                yield begun.popleft()
        yield from begun
