"""The claim on real video, and what a reader would ask of it: the default recipe, what each of its parts is worth, and one
video alone.

    python bench/claim.py [--data ../shared/data] [--only STUDY,STUDY:SETTING] [--seeds 42,1,2] [--jobs 2] [--models
        DIR] [--out results/claim.jsonl]

A training is one setting of one study with one seed; a row of `--out` holds its settings, and its accuracy on three
data sets, of a linear classifier on frozen features (`fine-tuned`: of the whole network, at home). What `--out` already
holds is not trained again, so that a call that was cut off goes on where it was.

- `start`: EfficientNet-Lite0 with its ImageNet weights, as it is.
- `recipe`: what `train_tempo` does by default, and the same with VICReg as its loss.
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
import argparse, json, subprocess, sys, time, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from fastai.callback.core import Callback
from tempo.backbones import LITE0, create_backbone
from tempo.linear_eval import linear_eval
from tempo.pretrain import train_tempo
from tempo.report import add_row, load_rows
from tempo.semisup import semisup_eval

HOME, CLIPS, ONE = 'asl24_video', 'asl24_video/clips', 'asl10/video.mp4'
DATA = dict(asl24_video=[1,5,20], asl24=[1,5], asl10=[1,5,20])     # labels per class
BASE = dict(steps=150, bs=96, size=96)
THESIS = dict(opt='sgd', lr=1e-3, wd=1e-3, lmb=1e-3, proximity=30, epochs=15, bs=128, size=96, aug=None, freeze=False, average=1., schedule='cosine', warmup=0.)

WHOLE = 'start', 'recipe', 'one video', 'little video', 'fine-tuned', 'speed'        # the others change one thing about BASE
STUDIES = {                                                         # study → setting → what differs from train_tempo's defaults, or from BASE
    'start': {f'{s} px': dict(size=s) for s in (96,64,128,160,224)},
    'recipe': {'default': dict(), 'vicreg': dict(loss='vicreg')},
    'one video': {'default': dict(), 'thesis': THESIS},
    'little video': {'1 clip': dict(clips=1), '5 clips': dict(clips=5)},
    'proximity': {f'{t}': dict(proximity=t) for t in (30,300,15,60,1,5)},
    'pairs': {'copies of one frame': dict(copies=True), 'copies of one frame (light augmentation)': dict(copies=True, aug='light'), 'copies of one frame (no augmentation)': dict(copies=True, aug=None)},
    'augmentation': {'off': dict(aug=None), 'light': dict(aug='light')},
    'video': {f'{n} clip'+'s'*(n>1): dict(clips=n) for n in (1,5,15)},
    'frozen': {'nothing': dict(freeze=False), 'blocks.1': dict(freeze='blocks.1'), 'blocks.2': dict(freeze='blocks.2'), 'blocks.4': dict(freeze='blocks.4')},
    'start of the weights': {'random': dict(weights=None)},
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

def accuracies(r): return {str(n): a.round(4).tolist() for n,a in zip(r.samples_pc, r.accs)}

def measure(backbone, size):
    "Accuracies of linear evaluation: data set → labels per class → ten draws"
    return {d: accuracies(linear_eval(backbone, args.data/d, ns, size=size)) for d,ns in DATA.items()}

def finetune(weights):
    "The same for the whole network, at home"
    return {HOME: accuracies(semisup_eval(weights, args.data/HOME, [1,5,20], runs=5, arch=LITE0, size=128, points=1))}

def source(study, seed, clips=None):
    "What is trained on: all clips, some of them, or the one video"
    if study=='one video': return args.data/ONE
    files = sorted((args.data/CLIPS).glob('*.mp4'))
    return args.data/CLIPS if clips is None else [files[i] for i in sorted(np.random.default_rng(seed).choice(len(files), clips, replace=False))]

def model_file(study, setting, seed): return args.models/f'{study}-{setting}-{seed}.safetensors'.replace(' ', '_')

def one(study, setting, seed):
    "One training (none for the start and for fine-tuning), measured, and its row"
    kw, t = dict(STUDIES[study][setting]), time.perf_counter()
    if study not in WHOLE: kw = BASE | kw
    row, size = dict(kind='claim', study=study, setting=setting, seed=seed, jobs=args.jobs, threads=torch.get_num_threads()), kw.get('size', 128)
    if study=='start': accs = measure(create_backbone(LITE0), size)
    elif study=='fine-tuned': accs = finetune('imagenet' if setting=='ImageNet start' else model_file('recipe', 'default', seed))
    else:
        video, cbs = source(study, seed, kw.pop('clips', None)), [Copies()] if kw.pop('copies', False) else []
        backbone = train_tempo(video, LITE0, seed=seed, out=args.models and model_file(study, setting, seed), cbs=cbs, **kw).model.backbone
        row |= {k: backbone.meta[k] for k in ('config','frames','clips','steps','train_seconds','last')}
        accs = measure(backbone, size) if study!='speed' else {}
    row |= dict(accs=accs, size=size, seconds=round(time.perf_counter()-t))
    add_row(args.out, **row)

def main():
    which = [(study, setting) for study,_,only in (o.partition(':') for o in args.only.split(',')) for setting in ([only] if only else STUDIES.get(study, ['']))]
    if unknown := [w for w in which if w[1] not in STUDIES.get(w[0], {})]: sys.exit(f"--only: {unknown[0]} is no study and setting. Studies: {', '.join(STUDIES)}")
    if not args.models and any(s=='fine-tuned' for s,_ in which):
        print('fine-tuned is left out: it starts from the trainings of the study recipe, which --models keeps')
        which = [w for w in which if w[0]!='fine-tuned']
    jobs = [(*w, seed) for w in which for seed in ([0] if w[0] in ('start','speed') or w[1]=='ImageNet start' else map(int, args.seeds.split(',')))]
    done = {(r['study'], r['setting'], r['seed']) for r in load_rows(args.out)} if args.out.exists() else set()
    t0 = time.perf_counter()
    def child(job, n=args.jobs): # one of `n` at a time
        env = os.environ | dict(OMP_NUM_THREADS=str(max(1, (os.cpu_count() or 1)//n)))
        p = subprocess.run([sys.executable, '-W', 'ignore', __file__, *sys.argv[1:], '--jobs', str(n), '--one', json.dumps(job)], env=env, capture_output=True, text=True)
        print(f'{time.perf_counter()-t0:6.0f} s', *job, 'done' if not p.returncode else p.stderr[-2000:], flush=True)
        return p.returncode
    with ThreadPoolExecutor(args.jobs) as ex: failed = sum(map(bool, ex.map(child, [j for j in jobs if j not in done and j[0]!='speed'])))
    failed += sum(bool(child(j, 1)) for j in jobs if j not in done and j[0]=='speed')
    if failed: sys.exit(f'{failed} failed')

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, default=Path('../shared/data')); p.add_argument('--models', type=Path, help='a folder to keep the backbones in; fine-tuning needs it')
    p.add_argument('--only', default=','.join(STUDIES)); p.add_argument('--seeds', default='42,1,2'); p.add_argument('--jobs', type=int, default=2)
    p.add_argument('--out', type=Path, default=Path(__file__).resolve().parent.parent/'results'/'claim.jsonl'); p.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.one: one(*args.one)
    else: main()
