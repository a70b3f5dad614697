"""How many clusters there can be, and how many a second head for the loss alone can have."""

from ar_seg_jax.errors import UserError


def check(num_clusters: int):
    """UserError unless it is 2 to 255: one cluster says nothing, and clusters are pixels of 8 bits."""
    if not 2 <= num_clusters <= 255:
        raise UserError(f'method.num_clusters is 2 to 255, found {num_clusters}')


def check_auxiliary(auxiliary_clusters: int):
    """The same for those of a second head, of which there need not be one: 0, or 2 to 255."""
    if auxiliary_clusters != 0 and not 2 <= auxiliary_clusters <= 255:
        raise UserError(f'method.auxiliary_clusters is 2 to 255, or 0 for no second head; found {auxiliary_clusters}')
