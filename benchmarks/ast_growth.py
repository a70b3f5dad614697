"""How the cost of AST's training step grows with slots, side and batch, one quantity after the other.

    python -m benchmarks.ast_growth --batch 4 --side 64 --slots 6 --rounds 5

It is the step of `benchmarks.ast_step`, in which background and foreground are trained together; `benchmarks.growth` says how it
is measured. Laws go through the measured step at the flags' sizes: linear in batch and slots, quadratic in the side. The network
does not grow with the slots, so that these cost less than their law. Glimpses have 32 pixels below a side of 128, and 64 there.

Prints a table and writes benchmarks/results/ast_growth_<platform>.json and .png.
"""

import argparse
import sys

from benchmarks import comparison, growth
from benchmarks.ast_step import Workload
from benchmarks.growth import Quantity

QUANTITIES = (
    Quantity('slots K', (3, 6, 12, 24), 'linear', lambda one, base: one.slots / base.slots, 'slots'),
    Quantity('side of the image, pixels', (32, 64, 128), 'quadratic', lambda one, base: (one.side / base.side) ** 2, 'side'),
    Quantity('images in a batch', (2, 4, 8, 16), 'linear', lambda one, base: one.batch / base.batch, 'batch'),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    comparison.add_flags(parser, Workload)
    parser.set_defaults(batch=4)
    growth.add_flags(parser, QUANTITIES)
    arguments = vars(parser.parse_args())
    rounds, fields = arguments.pop('rounds'), arguments.pop('quantities')
    base = Workload(**arguments)
    sizes = f'{base.batch} x {base.side} x {base.side}, K = {base.slots}, {base.network} network, {base.dtype}'
    growth.run('ast_growth', QUANTITIES, fields, base, rounds, sizes)


if __name__ == '__main__':
    sys.exit(main())
