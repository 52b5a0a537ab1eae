"""What pre-training on one camera's video does to others: recipes side by side, on the domain and on its neighbours.

    python bench/keep.py [--data ../shared/data] [--only NAME,NAME] [--out results/history/keep.jsonl]

Every recipe trains EfficientNet-Lite0 from its ImageNet weights on `asl24_video/clips` (or on `asl10/video.mp4` alone),
without a label, and is then measured by linear evaluation on three data sets: `asl24_video` (the domain; rooms never
filmed in training), `asl24` and `asl10` (other cameras, never seen). Of each run five sets of weights are measured: as
trained, averaged with the start (WiSE-FT: .85, .7 and .5 of the way), and the moving average over the steps (decay
.98). One row a set of weights and data set goes to `--out`. A recipe takes about ten minutes on two cores.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import copy, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
from tempo.backbones import LITE0, create_backbone
from tempo.linear_eval import linear_eval
from tempo.pretrain import Ema, average_with, train_tempo
from common import parser

BASE = dict(proximity=15, bn=True, steps=500, bs=96, size=96, average=1.)
RECIPES = {                                             # what differs from train_tempo's defaults
    'default': dict(), 'default (seed 1)': dict(seed=1), 'default (seed 2)': dict(seed=2),
    'lr 1e-3': dict(lr=1e-3), 'light augmentation': dict(aug='light'), 'nothing frozen': dict(freeze=False), 'lr 4e-3': dict(lr=4e-3),
    'lr by depth': dict(lr=(1e-3,4e-3)), 'one video': dict(steps=100, video='asl10/video.mp4')}
DATA = dict(asl24_video=[1,5,20], asl24=[1,5], asl10=[1,5,20])   # labels per class

class Shadow(Ema):
    "A moving average that is looked at and does not take the backbone's place"
    def after_fit(self): pass

def measure(backbone, recipe, weights, args, **more):
    "Three linear evaluations, a row each"
    for d,ns in DATA.items():
        r = linear_eval(backbone, args.data/d, ns, size=BASE['size'],
            name=f'{recipe}, {weights}')
        r.save(args.out, kind='keep', recipe=recipe, weights=weights, **more)
        print(d, r, flush=True)

def interpolated(backbone, start, share):
    "A copy, with its weights interpolated with the start's"
    between = copy.deepcopy(backbone)
    average_with(between, start, share)
    return between

def one(name, args):
    "One recipe: five sets of weights, measured"
    start = create_backbone(LITE0)
    if name=='start': return measure(start, 'start', 'imagenet', args)
    settings = BASE | RECIPES[name]
    video = settings.pop('video', 'asl24_video/clips')
    learn = train_tempo(args.data/video, LITE0, weights=start, out=None, cbs=Shadow(.98),
        **settings)
    b = learn.model.backbone
    variants = {'as trained': b, 'moving average': learn.shadow.avg.module}
    for share in (.85,.7,.5): variants[f'average {share}'] = interpolated(b, learn.start, share)
    for weights,m in variants.items():
        m.size, m.meta = b.size, b.meta
        measure(m, name, weights, args, video=video)

def main():
    args = parser(__doc__, data=Path('../shared/data'), only='', out='results/history/keep.jsonl').parse_args()
    for name in args.only.split(',') if args.only else ['start', *RECIPES]: one(name, args)

if __name__=='__main__': main()
