"""How many clusters there can be, how many a second head for the loss alone can have, and how large they may be."""

import math
from collections.abc import Sequence

from ar_seg_jax.errors import UserError


def check(num_clusters: int):
    """UserError unless it is 2 to 255: one cluster says nothing, and clusters are pixels of 8 bits."""
    if not 2 <= num_clusters <= 255:
        raise UserError(f'method.num_clusters is 2 to 255, found {num_clusters}')


def check_auxiliary(auxiliary_clusters: int):
    """The same for those of a second head, of which there need not be one: 0, or 2 to 255."""
    if auxiliary_clusters != 0 and not 2 <= auxiliary_clusters <= 255:
        raise UserError(f'method.auxiliary_clusters is 2 to 255, or 0 for no second head; found {auxiliary_clusters}')


def entropy_target(shares: Sequence[float], num_clusters: int) -> float | None:
    """The entropy, in nats, of clusters with shares of the pixels that somebody knows roughly; None where nobody does ('()').

    They are divided by their sum, so percentages will do. UserError unless there is one above 0 for each cluster.
    """
    if not shares:
        return None
    if len(shares) != num_clusters or not all(0 < share < math.inf for share in shares):
        raise UserError(
            f'method.shares are {num_clusters} numbers above 0, one for each cluster (method.num_clusters), or none at all; '
            f'found {tuple(shares)}'
        )
    total = sum(shares)
    return sum(share / total * math.log(total / share) for share in shares)
