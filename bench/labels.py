"""Did the video help, and how many labels does it save? The real run behind the tables of linear evaluation and
fine-tuning.

    python bench/labels.py [--data ../shared/data] [--models /tmp/models] [--only train,linear,finetune,bn] [--seeds
        42,1,2] [--out results/labels.jsonl]

Trains EfficientNet-Lite0 from its ImageNet weights by the defaults on `asl24_video/clips` (29 clips, 500 steps) and
on `asl10/video.mp4` alone (one video, 100 steps), each with the seeds given, where `--models` does not hold them yet. Then
`compare` measures a random network, the ImageNet start and all of them on three data sets, on the same ten draws of the
labelled stills: `linear` with both protocols, `finetune` with the strong one (the first seed only: a backbone and data
set take up to ten minutes on two cores), `bn` the same from the ImageNet start with BatchNorm's statistics learning
too. A row for each backbone, and one `kind='compare'` with differences and labels saved, for each data set and
protocol.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
from tempo.backbones import LITE0
from tempo.linear_eval import linear_eval
from tempo.pretrain import keep_memory, train_tempo
from tempo.report import compare
from tempo.semisup import semisup_eval
from common import parser

SIZE = 96
VIDEO = dict(clips=('asl24_video/clips', 500), asl10=('asl10/video.mp4', 100))     # source, steps
DATA = ('asl24_video','asl24','asl10')
FINETUNE = dict(asl24_video=([1,5,20], ['clips']), asl24=([1,5], ['clips']),
    asl10=([1,5], ['clips','asl10']))   # labels per class; which trainings

HERE = dict(size=SIZE, arch=LITE0)

def train(args):
    "The trainings, where they are not there yet: name → file"
    models = {}
    for seed in args.seeds.split(','):
        for video,(source,steps) in VIDEO.items():
            f = args.models/f'tempo-{video}-{seed}.safetensors'
            models[f'Tempo on {video}, seed {seed}'] = f
            if 'train' not in args.only or f.exists(): continue
            train_tempo(args.data/source, LITE0, bs=96, size=SIZE, steps=steps, seed=int(seed), out=f)
    return models

def keep(compared, args, *what):
    "Save a comparison and show it"
    compared.save(args.out, size=SIZE)
    print(*what, compared, sep='\n', flush=True)

def main():
    args = parser(__doc__, data=Path('../shared/data'), models=Path('/tmp/models'), only='train,linear,finetune,bn', out='results/labels.jsonl',
        sets=','.join(DATA), seeds='42').parse_args()
    keep_memory()                                                                  # fine-tuning profits as pre-training does
    models, first = train(args), args.seeds.split(',')[0]
    for d in args.sets.split(','):
        if 'linear' in args.only:
            for protocol in ('lbfgs','thesis'):
                named = dict(random='random', imagenet='imagenet') | models
                keep(compare(named, args.data/d, linear_eval, protocol=protocol, **HERE), args, d, protocol)
        if 'finetune' in args.only:
            ns, which = FINETUNE[d]
            names = [f'Tempo on {video}, seed {first}' for video in which]
            named = dict(imagenet='imagenet') | {name: models[name] for name in names}
            keep(compare(named, args.data/d, semisup_eval, samples_pc=ns, points=4, **HERE),
                args, d, 'finetune')
    if 'bn' in args.only:
        r = semisup_eval('imagenet', args.data/DATA[0], 5, points=4, bn=True,
            name='imagenet, BatchNorm learns', **HERE)
        r.save(args.out, size=SIZE)
        print(r)

if __name__=='__main__': main()
