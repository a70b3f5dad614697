"""How many clusters there can be."""

from ar_seg_jax.errors import UserError


def check(num_clusters: int):
    """UserError unless it is 2 to 255: one cluster says nothing, and clusters are pixels of 8 bits."""
    if not 2 <= num_clusters <= 255:
        raise UserError(f'method.num_clusters is 2 to 255, found {num_clusters}')
