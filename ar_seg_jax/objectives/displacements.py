"""The window of displacements over which two maps are compared."""

from ar_seg_jax.errors import UserError


def check(displacement: int, height: int, width: int):
    """UserError unless a half-window of `displacement` fits into maps of this size."""
    if not 0 <= displacement < min(height, width):
        raise UserError(
            f'the displacement half-window must be at least 0 and less than the map, found {displacement} for a map of '
            f'{height} x {width}; lower --config.method.displacement'
        )
