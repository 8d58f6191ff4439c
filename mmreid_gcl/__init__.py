# SPDX-License-Identifier: Apache-2.0
"""Unsupervised person re-identification by graph correlation learning.

Import public classes from here or from their packages. Each is imported at its first
use, so ``import mmreid_gcl`` stays quick. mmengine finds ``type='mmreid_gcl.GCLNeck'``
from any default scope through these names.
"""

from importlib import import_module

from .environment import check_stack, ignore_useless_warnings
from .version import __version__

check_stack()
ignore_useless_warnings()

from . import registry  # noqa: E402  (needs the stack)
from .checkpoint import use_safe_loaders  # noqa: E402
from .config import packaged  # noqa: E402

use_safe_loaders()
packaged.register()

#: Package: the public names in it.
_NAMES = {
    'apis': 'GalleryIndex ReIDInferencer load_config load_model',
    'clustering': (
        'BaseClusterer DBSCANClusterer FrozenLabels HDBSCANClusterer InfomapClusterer '
        'KMeansClusterer Labeller NeighbourGraphs OrderedGraphs SelfPacedClusterer '
        'ShuffledLabels TrackClusterer audit_graphs k_reciprocal_jaccard knn_search '
        'normalize_by_camera'
    ),
    'datasets': (
        'CUHK03 CachedTransforms ConcatDataset DukeMTMCreID MSMT17 Market1501 '
        'PKSampler PersonFolder ReIDDataset VeRi776 WeakView'
    ),
    'engine': (
        'AtomicCheckpointHook FiniteLossHook LabelFreeBestHook MemoryHook '
        'MixedPrecisionOptimWrapper PositionHook PositionSeedHook PseudoLabelHook '
        'RampHook ResumableTrainLoop TimeLeftHook TrainingImagesHook'
    ),
    'evaluation': 'ReIDMetric evaluate_ranking',
    'models': (
        'BaseMemoryHead CameraProxyHead EmbeddingNeck GCLNeck HybridMemoryHead '
        'IBNResNet IdentityHead InstanceContrastHead NeighbourLabelHead '
        'SelectiveMemoryHead TripletHead UnsupervisedReID'
    ),
}
_PACKAGE_OF = {name: room for room, names in _NAMES.items() for name in names.split()}

__all__ = ['__version__', 'registry', *sorted(_PACKAGE_OF)]


def __getattr__(name: str):
    if name not in _PACKAGE_OF:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_PACKAGE_OF[name]}', __name__), name)


def __dir__() -> list[str]:
    return __all__
