__version__ = "0.1.0"

import warnings

# What other packages say while they are imported is about nothing that a reader did
warnings.filterwarnings('ignore', message='IProgress not found')
warnings.filterwarnings('ignore', message='`torch.jit.script` is deprecated', category=FutureWarning)

# What a first hour uses, by the module that it lives in. It is imported when it is asked for, so `import tempo` costs nothing.
_OFFERED = dict(run='workflow', make_signs='synthetic', FrameStore='data', train_tempo='pretrain', load_backbone='backbones',
    compare='report', suggest_labels='suggest', fit_classifier='classifier', load_classifier='classifier', label_videos='predict')

def __getattr__(name):
    if name not in _OFFERED: raise AttributeError(f"module 'tempo' has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f'tempo.{_OFFERED[name]}'), name)

def __dir__(): return [*globals(), *_OFFERED]
