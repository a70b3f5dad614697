"""Files that torch.save writes, in both of its formats, and what is in them; makes torch_files_*.pth and torch_files.npz.

    python -m tests.references.torch_files

Needs torch. bfloat16, which .npz does not know, is in the .npz as float32.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent


def tensors():
    """Of every type; views of all kinds, of which several share a storage; and none or one element."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 6, generator=generator)
    found = OrderedDict(
        matrix=matrix,
        transposed=matrix.T,
        sliced=matrix[1:, ::2],
        cube=torch.arange(24, dtype=torch.float64).reshape(2, 3, 4).permute(2, 0, 1),
        parameter=nn.Parameter(torch.randn(3, generator=generator)),
        scalar=torch.tensor(7),
        empty=torch.zeros(0, 3),
        flags=torch.tensor([True, False, True]),
    )
    for name in ('float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8'):
        found[name] = torch.arange(5).to(getattr(torch, name))
    return found


def checkpoint():
    """As programs keep them: a state dictionary below others, and what is no tensor beside it."""
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.linspace(-1, index + 1, parameter.numel()).reshape(parameter.shape))
    return {'epoch': 3, 'name': 'small', 'teacher': {'module': network.state_dict()}, 'rates': [0.1, 0.2], 'plain': tensors()}


def _array(tensor):
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def expected():
    content = checkpoint()
    named = {f'plain.{name}': tensor for name, tensor in content['plain'].items()}
    named |= {f'teacher.module.{name}': tensor for name, tensor in content['teacher']['module'].items()}
    return {name: _array(tensor) for name, tensor in named.items()}


if __name__ == '__main__':
    np.savez_compressed(HERE / 'torch_files.npz', **expected())
    torch.save(checkpoint(), HERE / 'torch_files_zip.pth')
    torch.save(checkpoint(), HERE / 'torch_files_legacy.pth', _use_new_zipfile_serialization=False)
    torch.save({**checkpoint(), 'options': argparse.Namespace(rate=0.1)}, HERE / 'torch_files_namespace.pth')
