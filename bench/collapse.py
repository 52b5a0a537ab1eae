"""What helps where features collapse: trainings of half seconds and of one room, each with one remedy.

    python bench/collapse.py [--data ../shared/data] [--only DOMAIN,DOMAIN:REMEDY] [--seeds 42] [--jobs 2]
        [--out results/collapse.jsonl]

A row is one training as in `bench/domains.py`, with these remedies from its first step on: how many steps it lived, the
spread of its features every twenty steps, and accuracies of its weights at a given share of the way from the start.

- `none`. `pull`: after each step, every weight goes back to the start by 12 times the learning rate.
- `scales stay`: BatchNorm's scales and shifts do not learn. `statistics learn`: its statistics do.
- `mean held`, `held`: the features' mean, or mean and spread, are held to those of the start by a term of the loss: a
  thousand times their squared distance, relative to the start's.
- `close pairs`: at most 4 frames apart. `held, close pairs`: both.
- `slower`: a quarter of the learning rate; `slower, close pairs`: both. `train_tempo` does one of these after a collapse.
"""
import domains                      # first: it says how threads wait, before torch
import json, sys, time
from pathlib import Path
import torch
from fastai.callback.core import Callback
from torch.nn import BatchNorm2d
from tempo.backbones import LITE0
from tempo.pretrain import train_tempo
from tempo.rows import add_row, load_rows
from common import named, parser, side_by_side

class ScalesStay(Callback):
    "BatchNorm's scales and shifts do not learn"
    def after_backward(self):
        for m in self.model.backbone.modules():
            if not isinstance(m, BatchNorm2d): continue
            for p in m.parameters():
                if p.grad is not None: p.grad.zero_()

class Pull(Callback):
    "Every weight of the backbone back towards the start"
    def before_fit(self): self.start = [p.detach().clone() for p in self.model.backbone.parameters()]
    def after_step(self):
        share = min(1, 12*self.opt.hypers[-1]['lr'])
        with torch.no_grad():
            for p,start in zip(self.model.backbone.parameters(), self.start):
                if p.requires_grad: p.lerp_(start, share)

class Held(Callback):
    "The features' mean, and their spread as well, near those of the first batch"
    def __init__(self, rows): self.rows, self.start = rows, None
    def before_fit(self): self.model.backbone.register_forward_hook(self.keep)
    def keep(self, backbone, pictures, features): self.features = features
    def after_loss(self):
        if not self.training: return
        h = self.features.float()
        now = torch.stack([h.mean(0), h.std(0)])[:self.rows]
        if self.start is None: self.start = now.detach()
        apart = (now-self.start).square().sum(1)/self.start.square().sum(1)
        self.learn.loss_grad = self.loss_grad + 1000*apart.sum()

CLOSE = dict(proximity=4)
SLOWER = dict(lr=5e-4)              # a quarter of the default
REMEDIES = {                        # remedy → what differs from the default, and a callback
    'none': ({}, None), 'pull': ({}, Pull), 'scales stay': ({}, ScalesStay), 'statistics learn': (dict(bn=True), None),
    'mean held': ({}, lambda: Held(1)), 'held': ({}, lambda: Held(2)), 'close pairs': (CLOSE, None),
    'held, close pairs': (CLOSE, lambda: Held(2)), 'slower': (SLOWER, None), 'slower, close pairs': (SLOWER | CLOSE, None)}
WHERE = ('half seconds', 'one room')

def one(domain, remedy, seed):
    "One training, measured, and its row"
    began, (how, callback) = time.perf_counter(), REMEDIES[remedy]
    how = dict(cuts=domain!='one room', average=1.) | domains.SHORT | how
    cbs, learn = [callback()] if callback else [], None
    source = domains.source(domain, seed)
    try: train_tempo(source, LITE0, seed=seed, out=None, cbs=[*cbs, Keep()], **how)
    except FloatingPointError: pass
    learn = Keep.learner
    learn.trained = {k: v.detach().cpu().clone() for k,v in learn.model.backbone.state_dict().items()}
    spreads = [round(r['spread'], 3) for r in learn.watch.history[::20]]
    accs = {}
    for share in domains.SHARES: accs[str(share)] = domains.measure(learn.interpolate(share), domain, how['size'])
    add_row(args.out, kind='collapse', domain=domain, setting=remedy, seed=seed, moments_of=1, steps=len(learn.watch.history),
        spreads=spreads, accs=accs, seconds=round(time.perf_counter()-began))

class Keep(Callback):
    "Keeps the Learner where a training ends in an error"
    def before_fit(self): Keep.learner = self.learn

def left_to_do():
    "Jobs (domain, remedy, seed) that the results file does not hold yet"
    rows = load_rows(args.out) if args.out.exists() else []
    done = {(r['domain'], r['setting'], r['seed']) for r in rows}
    seeds = [int(s) for s in args.seeds.split(',')]
    jobs = [(*what, seed) for seed in seeds for what in named(args.only, WHERE, 'remedy', REMEDIES)]
    return [job for job in jobs if job not in done]

if __name__=='__main__':
    rows = Path(__file__).resolve().parent.parent/'results'/'collapse.jsonl'
    p = parser(__doc__, data=Path('../shared/data'), only=','.join(WHERE), seeds='42', jobs=2, out=rows)
    p.add_argument('--one', type=json.loads, help='one job, as the script starts itself')
    args = domains.args = p.parse_args()
    if args.one: one(*args.one)
    else:
        failed = side_by_side(__file__, left_to_do(), args.jobs)
        if failed: sys.exit(f'{failed} failed')
