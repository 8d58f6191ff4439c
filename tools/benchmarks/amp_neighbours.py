# SPDX-License-Identifier: Apache-2.0
"""How much a lower precision of the embedding changes neighbours and clusters.

``python tools/benchmarks/amp_neighbours.py CONFIG [CHECKPOINT]`` embeds the training
set of a config in float32 and in lower precisions, and prints a Markdown table: the
largest error of an embedding, the share of images whose k nearest neighbours are
others than in float32 (as a set, and in their order), and the agreement (ARI) of the
pseudo-labels of x. Processors are slow with float16 and have no TF32: these are
emulated by rounding (``rounding.py``), and so is bfloat16, as a check of that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from mmengine.registry import init_default_scope
from rounding import BITS, emulate
from torch import nn

from mmreid_gcl.apis import load_config, load_model
from mmreid_gcl.clustering import adjusted_rand_index, knn_search
from mmreid_gcl.config_parts import find_pseudo_label_hook, find_test_pipeline
from mmreid_gcl.engine import extract_features
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.registry import DATASETS, TASK_UTILS


def changed(exact: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """How neighbour lists differ.

    Args:
        exact (np.ndarray): (N, k) neighbours in float32.
        other (np.ndarray): (N, k) neighbours in another precision.

    Returns:
        tuple[float, float, float]: Shares: of lists that differ as sets, of lists
        that differ in their order, and of single neighbours that are others.
    """
    same = np.sort(exact, 1) == np.sort(other, 1)
    as_sets = 1 - same.all(1).mean()
    ordered = (exact != other).any(1).mean()
    kept = np.mean([np.isin(a, b).mean() for a, b in zip(exact, other)])
    return float(as_sets), float(ordered), float(1 - kept)


def row(
    title: str,
    features: np.ndarray,
    exact: np.ndarray,
    labels: np.ndarray,
    cluster: Callable[[np.ndarray], np.ndarray],
    k: int,
    seconds: float,
) -> str:
    """A line of the table for the embeddings of one precision."""
    own = knn_search(features, k)[1]
    reference = knn_search(exact, k)[1]
    as_sets, ordered, single = changed(reference, own)
    error = np.linalg.norm(features - exact, axis=1).max()
    agreement = adjusted_rand_index(cluster(features), labels)
    return (
        f'| {title} | {error:.1e} | {as_sets:.1%} | {ordered:.1%} | {single:.2%} '
        f'| {agreement:.4f} | {seconds:.0f} |'
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help='default: as init_cfg has it')
    parser.add_argument('-k', type=int, default=30, help='length of a list')
    parser.add_argument('--autocast', nargs='*', default=['bfloat16'])
    parser.add_argument('--emulate', nargs='*', default=list(BITS), choices=BITS)
    parser.add_argument('--device')
    args = parser.parse_args()
    cfg = load_config(args.config)
    init_default_scope(cfg.get('default_scope', 'mmreid_gcl'))
    hook = find_pseudo_label_hook(cfg)
    settings = dict(hook['extract'])
    pipeline = settings.pop('pipeline', None) or find_test_pipeline(cfg)
    for name in ('amp_dtype', 'tf32', 'out'):  # the table's own business
        settings.pop(name, None)
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': pipeline})
    cluster = TASK_UTILS.build(hook['clusterer'])

    def embed(
        model: nn.Module, tf32: bool = False, **options
    ) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        with exact_float32(not tf32):
            features = extract_features(model, dataset, **{**settings, **options})
        return features.numpy(), time.perf_counter() - start

    def fresh() -> nn.Module:
        return load_model(cfg, args.checkpoint, args.device)

    exact, seconds = embed(fresh())
    labels = cluster(exact)
    fixed = (exact, labels, cluster, args.k)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(f'{len(exact)} images, {exact.shape[1]} channels, k = {args.k}; {name}\n')
    print(
        '| embedding | largest error | lists changed | order changed | neighbours '
        'changed | ARI of labels | s |\n|---|---:|---:|---:|---:|---:|---:|'
    )
    print(row('float32', exact, *fixed, seconds), flush=True)
    other, seconds = embed(fresh(), batch_size=1 + settings.get('batch_size', 256) // 3)
    print(row('float32, other batches', other, *fixed, seconds), flush=True)
    if torch.cuda.is_available():
        other, seconds = embed(fresh(), tf32=True)  # of convolutions, torch's default
        print(row('TF32', other, *fixed, seconds), flush=True)
    for dtype in args.autocast:
        other, seconds = embed(fresh(), amp_dtype=dtype)
        print(row(f'{dtype}, autocast', other, *fixed, seconds), flush=True)
    for dtype in args.emulate:
        other, seconds = embed(emulate(fresh(), dtype))
        print(row(f'{dtype}, emulated', other, *fixed, seconds), flush=True)
    for dtype in (torch.bfloat16, torch.float16):
        half = torch.from_numpy(exact).to(dtype).float().numpy()
        title = f'float32, rounded to {dtype}'.replace('torch.', '')
        print(row(title, half, *fixed, 0), flush=True)


if __name__ == '__main__':
    main()
