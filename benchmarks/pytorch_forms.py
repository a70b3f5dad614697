"""PyTorch's training step in the forms that benchmarks compare with, and its matrix products."""

import random
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from benchmarks import pytorch_reference as reference
from benchmarks.package_step import RATE, random_images
from benchmarks.timing import Contestant
from benchmarks.workload import Workload

Form = Literal['paper', 'product', 'best']


def steps(workload: Workload, variables: Mapping[str, Any], forms: Sequence[str], device: str) -> list[Contestant]:
    """A step of each form, without those that do not fit into memory, which are named on standard error."""
    found = []
    for form in forms:
        try:
            found.append(step(workload, variables, form, device))
        except torch.OutOfMemoryError:
            print(f'PyTorch, {form}: out of memory', file=sys.stderr)
            torch.cuda.empty_cache()
    return found


def step(workload: Workload, variables: Mapping[str, Any], form: Form, device: str) -> Contestant:
    """A step of the reference with the package's `variables`.

    'paper': eager, float32, copied weights. 'product': the same with weights times mask. 'best': product, fused attention,
    one pass of the stem, the loss by a box filter, channels last, torch.compile, fused Adam, and autocast where the workload is
    bfloat16. Every ordering is run once before anything is timed.
    """
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    model = _model(workload, variables, form).to(device)
    layout = torch.channels_last if form == 'best' else torch.contiguous_format
    image = torch.tensor(random_images(workload), device=device).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    adam = torch.optim.Adam(
        model.parameters(), RATE, fused=True if form == 'best' else None
    )  # False would also turn off `foreach`
    run = _best_step if form == 'best' else _plain_step

    def run_once(*views):
        run(workload, model, adam, image.float() / 255, views)
        if device == 'cuda':
            torch.cuda.synchronize()

    for ordering in reference.ORDERINGS:
        run_once(ordering, ordering)
    facts = {
        'precision': workload.dtype if form == 'best' else 'float32',
        'preparation_seconds': time.perf_counter() - start,
        'peak_bytes': torch.cuda.max_memory_allocated() - before if device == 'cuda' else None,
    }
    draw = random.Random(0)
    return Contestant(f'PyTorch, {form}', lambda: run_once(*draw.choices(reference.ORDERINGS, k=2)), facts)


def _model(workload: Workload, variables: Mapping[str, Any], form: Form) -> reference.Autoregressive:
    attention = ('fused' if form == 'best' else 'explicit') if workload.attention else 'none'
    masking = 'dummy' if form == 'paper' else 'product'
    model = reference.Autoregressive(workload.channels, workload.clusters, workload.blocks, workload.stride, attention, masking)
    reference.load(model, variables['params'], variables['batch_stats'])
    if form == 'best':
        torch._dynamo.config.recompile_limit = 2 * len(reference.ORDERINGS)
        model = model.to(memory_format=torch.channels_last)
        model.stem.compile(dynamic=False)
        model.view = torch.compile(model.view, dynamic=False)
    return model


def _plain_step(workload, model, adam, image, views):
    reference.train_step(model, adam, image, views, workload.displacement)


def _best_step(workload, model, adam, image, views):
    with torch.autocast(image.device.type, torch.bfloat16, enabled=workload.dtype == 'bfloat16'):
        scores = model(image, views, share_stem=True)
    loss = reference.information_loss(*(view.float() for view in scores), workload.displacement, joint='box')
    reference.update(model, adam, loss)


def matmul(dtype: str, device: str) -> Contestant:
    """Ten products of square matrices, each with the last one's result."""
    size, count = (8192 if device == 'cuda' else 2048), 10
    matrix = torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) / size**0.5

    def run():
        product = matrix
        for _ in range(count):
            product = product @ matrix
        return product.float().sum().item()

    return Contestant('matmul, PyTorch', run, {'amount': 2 * size**3 * count})
