"""Where does the evidence lie, and what throws it off? The real run behind 07_explain.

    python bench/explain.py [--data ../shared/data] [--models /tmp/models] [--only relevance,robustness] [--out
        results/explain.jsonl]

ImageNet's EfficientNet-Lite0 against Tempo's trainings on `asl24_video/clips` (`bench/labels.py --only train --seeds
42,1,2` makes them), on the stills of `asl24` with their masks, at 96 pixels. `relevance`: a row for each model, head
(logistic regression, the thesis's gradient descent, a head of ones that knows no classes) and treatment of biases.
`robustness`: a row for each model and disturbance, three seeds each, and two of PGD, which takes twenty steps for each;
some twenty minutes on two cores.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import warnings
from pathlib import Path
from torch import nn
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
from tempo.backbones import LITE0
from tempo.evaldata import eval_setup, load_eval_data
from tempo.explain import relevance_eval, relevance_of
from tempo.robustness import ATTACKS, DISTURBANCES, robustness
from common import parser

TRAININGS = (42,1,2)
HERE = dict(size=96, arch=LITE0)

def of_ones(backbone, data, name, ignore_bias):
    "A head that gives every feature the same weight"
    d = load_eval_data(data, HERE['size'], masks=True)
    b, *_, kw = eval_setup(backbone, d, arch=LITE0)
    head = nn.Linear(b.n_features, 1, bias=False)
    head.weight.data.fill_(1)
    info = kw['info'] | dict(protocol='ones')
    return relevance_of(nn.Sequential(b, head), d.test, d.masks, name=f'{name}, a head of ones',
        ignore_bias=ignore_bias, info=info)

def relevance(models, data, out):
    "A row for each model, head and treatment of biases"
    for protocol in ('lbfgs','thesis','ones'):
        for ignore in (False,True):
            for name,backbone in models.items():
                if protocol=='ones': r = of_ones(backbone, data, name, ignore)
                else: r = relevance_eval(backbone, data, protocol=protocol, ignore_bias=ignore, name=name, **HERE)
                r.save(out)
                print(protocol, 'biases ignored' if ignore else '', r, flush=True)

def under_disturbance(models, data, out):
    "A row for each model and disturbance"
    for kind in (*DISTURBANCES, *ATTACKS):
        runs = 2 if kind=='pgd' else 3
        for r in robustness(models, data, [kind], runs=runs,
            strengths=dict(pgd=[0,.25,.5,1]),
            **HERE):
            r.save(out)
            print(r, flush=True)

def main():
    args = parser(__doc__, data=Path('../shared/data'),
        models=Path('/tmp/models'), only='relevance,robustness', out='results/explain.jsonl').parse_args()
    models = {'ImageNet': 'imagenet'}
    for seed in TRAININGS: models[f'Tempo, seed {seed}'] = args.models/f'tempo-clips-{seed}.safetensors'
    if 'relevance' in args.only: relevance(models, args.data/'asl24', args.out)
    if 'robustness' in args.only: under_disturbance(models, args.data/'asl24', args.out)

if __name__=='__main__': main()
