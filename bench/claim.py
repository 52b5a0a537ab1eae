"""The claim on real video, and what a reader would ask of it: a recipe for clips cut by class, what each of its parts is worth, and one
video alone.

    python bench/claim.py [--data ../shared/data] [--only STUDY,STUDY:SETTING] [--seeds 42,1,2] [--jobs 2] [--models
        DIR] [--out results/claim.jsonl]

A training is one setting of one study with one seed; a row of `--out` holds its settings, and its accuracy on three
data sets, of a linear classifier on frozen features (`fine-tuned`: of the whole network, at home). What `--out` already
holds is not trained again, so that a call that was cut off goes on where it was.

- `start`: EfficientNet-Lite0 with its ImageNet weights, as it is.
- `recipe`: what suits clips that were cut by class (`CUT`: pairs up to 300 frames apart, BatchNorm statistics of the
  video, weights at .85 of the way), and the same with VICReg as its loss. It is not the default of `train_tempo`;
  `bench/domains.py` measures that one beside it, where this setting is called `before`.
- the ablations: a short training (`BASE`), and one thing about it changed at a time. The one to compare with is that of
  the study `proximity` with the default's τ.
- `one video`: `asl10/video.mp4` alone.
- `little video`: the recipe on one clip of thirty seconds, and on five.
- `fine-tuned`: the whole network, from the start and from the recipe's trainings, which `--models` keeps for it; five
  draws of the labelled stills.
- `speed`: how long a step of the recipe takes alone on all cores; it comes last, when nothing else runs.

`--jobs` trainings run side by side on one thread each, which on two cores does a third more work than one training on
both; a row says how many.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import argparse, json, sys, time, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from fastai.callback.core import Callback
from tempo.backbones import LITE0, create_backbone
from tempo.linear_eval import linear_eval
from tempo.pretrain import train_tempo
from tempo.rows import add_row, load_rows
from tempo.semisup import semisup_eval
from common import accuracies, parser, side_by_side

HOME = 'asl24_video'
CLIPS = 'asl24_video/clips'
ONE = 'asl10/video.mp4'
DATA = dict(asl24_video=[1,5,20], asl24=[1,5], asl10=[1,5,20])     # labels per class
CUT = dict(proximity=300, bn=True, average=.85)                     # of every training here, where a setting says nothing else
BASE = dict(steps=150, bs=96, size=96)
THESIS = dict(opt='sgd', lr=1e-3, wd=1e-3, lmb=1e-3, proximity=30, epochs=15, bs=128, size=96, aug=None, freeze=False,
    average=1., schedule='cosine', warmup=0.)

WHOLE = 'start', 'recipe', 'one video', 'little video', 'fine-tuned', 'speed'        # the others change one thing about BASE
STUDIES = {                                                         # study → setting → what differs from train_tempo's defaults, or from BASE
    'start': {f'{s} px': dict(size=s) for s in (96,64,128,160,224)},
    'recipe': {'default': dict(), 'vicreg': dict(loss='vicreg')},
    'one video': {'default': dict(), 'thesis': THESIS},
    'little video': {'1 clip': dict(clips=1), '5 clips': dict(clips=5)},
    'proximity': {f'{t}': dict(proximity=t) for t in (30,300,15,60,1,5)},
    'pairs': {'copies of one frame': dict(copies=True), 'copies of one frame (light augmentation)': dict(copies=True, aug='light'),
        'copies of one frame (no augmentation)': dict(copies=True, aug=None)},
    'augmentation': {'off': dict(aug=None), 'light': dict(aug='light')},
    'video': {f'{n} clip'+'s'*(n>1): dict(clips=n) for n in (1,5,15)},
    'frozen': {'nothing': dict(freeze=False)} | {layer: dict(freeze=layer) for layer in ('blocks.1','blocks.2','blocks.4')},
    'start of the weights': {'random': dict(weights=None, average=1.)},
    'loss': {'vicreg': dict(loss='vicreg')},
    'steps': {'50': dict(steps=50), '500': dict(steps=500)},
    'average': {'1': dict(average=1.)},
    'pdf': {p: dict(pdf=p) for p in ('normal','laplace','future')},
    'lambda': {f'{l:g}': dict(lmb=l) for l in (1e-3,2.5e-2)},
    'projector': {f'{w}': dict(proj=w) for w in (256,2048)},
    'batch': {f'{b} (as many pairs)': dict(bs=b, steps=BASE['steps']*BASE['bs']//b) for b in (32,192)},
    'size': {f'{s} px': dict(size=s) for s in (64,128)},
    'fine-tuned': {'ImageNet start': dict(), 'Tempo': dict()},
    'speed': {'alone': dict(steps=60)},
}

class Copies(Callback):
    "Both views from one frame: what is left without time"
    order = 4                                                        # just before TempoCallback augments them
    def before_batch(self): self.learn.xb = (self.xb[0], self.xb[0])

def measure(backbone, size):
    "Accuracies of linear evaluation: data set → labels per class → ten draws"
    return {d: accuracies(linear_eval(backbone, args.data/d, ns, size=size)) for d,ns in DATA.items()}

def finetune(weights):
    "The same for the whole network, at home"
    return {HOME: accuracies(semisup_eval(weights, args.data/HOME, [1,5,20],
        runs=5, arch=LITE0, size=128, points=1))}

def source(study, seed, clips=None):
    "What is trained on: all clips, some of them, or the one video"
    if study=='one video': return args.data/ONE
    if clips is None: return args.data/CLIPS
    files = sorted((args.data/CLIPS).glob('*.mp4'))
    chosen = np.random.default_rng(seed).choice(len(files), clips, replace=False)
    return [files[i] for i in sorted(chosen)]

def model_file(study, setting, seed):
    "Where a training's backbone is kept"
    return args.models/f'{study}-{setting}-{seed}.safetensors'.replace(' ', '_')

def train(study, setting, seed, settings):
    "One training: its backbone, and what its row says of it"
    video = source(study, seed, settings.pop('clips', None))
    cbs = [Copies()] if settings.pop('copies', False) else []
    out = args.models and model_file(study, setting, seed)
    backbone = train_tempo(video, LITE0, seed=seed, out=out, cbs=cbs, **CUT | settings).model.backbone
    return backbone, {k: backbone.meta[k] for k in ('config','frames','clips','steps','train_seconds','last')}

def one(study, setting, seed):
    "One training (none for the start and for fine-tuning), measured, and its row"
    t, settings = time.perf_counter(), dict(STUDIES[study][setting])
    if study not in WHOLE: settings = BASE | settings
    size = settings.get('size', 128)
    row = dict(kind='claim', study=study, setting=setting, seed=seed, jobs=args.jobs,
        threads=torch.get_num_threads())
    if study=='start': accs = measure(create_backbone(LITE0), size)
    elif setting=='ImageNet start': accs = finetune('imagenet')
    elif study=='fine-tuned': accs = finetune(model_file('recipe', 'default', seed))
    else:
        backbone, said = train(study, setting, seed, settings)
        row |= said
        accs = {} if study=='speed' else measure(backbone, size)
    add_row(args.out, **row, accs=accs, size=size, seconds=round(time.perf_counter()-t))

def wanted():
    "(study, setting) of what `--only` names"
    which = []
    for word in args.only.split(','):
        study, _, setting = word.partition(':')
        which += [(study, s) for s in ([setting] if setting else STUDIES.get(study, ['']))]
    for study,setting in which:
        if setting not in STUDIES.get(study, {}):
            sys.exit(f"--only: {study}:{setting} is no study and setting. Studies: {', '.join(STUDIES)}")
    if args.models or not any(study=='fine-tuned' for study,_ in which): return which
    print('fine-tuned is left out: it starts from the trainings of the study recipe, which --models keeps')
    return [w for w in which if w[0]!='fine-tuned']

def seeds_of(study, setting):
    "The seeds of a setting; what is not random has one"
    if study in ('start','speed') or setting=='ImageNet start': return [0]
    return [int(s) for s in args.seeds.split(',')]

def left_to_do():
    "Jobs (study, setting, seed) that the results file does not hold yet"
    rows = load_rows(args.out) if args.out.exists() else []
    done = {(r['study'], r['setting'], r['seed']) for r in rows}
    jobs = [(study, setting, seed) for study,setting in wanted() for seed in seeds_of(study, setting)]
    return [job for job in jobs if job not in done]

def main():
    todo = left_to_do()
    together = [job for job in todo if job[0]!='speed']
    alone = [job for job in todo if job[0]=='speed']
    failed = side_by_side(__file__, together, args.jobs) + side_by_side(__file__, alone, 1)
    if failed: sys.exit(f'{failed} failed')

if __name__=='__main__':
    rows = Path(__file__).resolve().parent.parent/'results'/'claim.jsonl'
    p = parser(__doc__, data=Path('../shared/data'), only=','.join(STUDIES), seeds='42,1,2',
        jobs=2, out=rows)
    p.add_argument('--models', type=Path, help='a folder to keep the backbones in; fine-tuning needs it')
    p.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.one: one(*args.one)
    else: main()
