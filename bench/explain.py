"""Where does the evidence lie, and what throws it off? The real run behind 07_explain.

    python bench/explain.py [--data ../shared/data] [--models /tmp/models] [--only relevance,robustness] [--out results/explain.jsonl]

ImageNet's EfficientNet-Lite0 against Tempo's trainings on `asl24_video/clips` (`bench/labels.py --only train --seeds 42,1,2` makes them), on the stills of `asl24` with their masks, at 96 pixels. `relevance`: a row for each
model, head (logistic regression, the thesis's gradient descent, a head of ones that knows no classes) and treatment of biases. `robustness`: a row for each model and disturbance, three seeds each, and two of PGD,
which takes twenty steps for each; some twenty minutes on two cores.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import argparse, warnings
from pathlib import Path
from torch import nn
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
from tempo.backbones import LITE0
from tempo.explain import relevance_eval, relevance_of
from tempo.linear_eval import eval_setup
from tempo.robustness import ATTACKS, DISTURBANCES, find_masks, robustness

TRAININGS = (42,1,2)
HERE = dict(size=96, arch=LITE0)

def of_ones(backbone, data, name, ignore_bias):
    "A head that gives every feature the same weight"
    b, _, te, kw = eval_setup(backbone, data, **HERE)
    head = nn.Linear(b.n_features, 1, bias=False); head.weight.data.fill_(1)
    return relevance_of(nn.Sequential(b, head), te, find_masks(data, te), name=f'{name}, a head of ones', ignore_bias=ignore_bias, info=kw['info'] | dict(protocol='ones'))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, default=Path('../shared/data')); p.add_argument('--models', type=Path, default=Path('/tmp/models'))
    p.add_argument('--only', default='relevance,robustness'); p.add_argument('--out', default='results/explain.jsonl')
    args = p.parse_args()
    models = {'ImageNet':'imagenet', **{f'Tempo, seed {s}': args.models/f'tempo-clips-{s}.safetensors' for s in TRAININGS}}
    if 'relevance' in args.only:
        for protocol,ignore in [(p,i) for p in ('lbfgs','thesis','ones') for i in (False,True)]:
            for n,b in models.items():
                r = of_ones(b, args.data/'asl24', n, ignore) if protocol=='ones' else relevance_eval(b, args.data/'asl24', protocol=protocol, ignore_bias=ignore, name=n, **HERE)
                r.save(args.out); print(protocol, 'biases ignored' if ignore else '', r, flush=True)
    if 'robustness' in args.only:
        for k in (*DISTURBANCES, *ATTACKS):
            for r in robustness(models, args.data/'asl24', [k], runs=2 if k=='pgd' else 3, strengths=dict(pgd=[0,.25,.5,1]), **HERE): r.save(args.out); print(r, flush=True)

if __name__=='__main__': main()
