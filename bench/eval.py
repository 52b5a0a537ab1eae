"""How fast is evaluation? All runs of the thesis's linear protocol together against the loop over runs; feature extraction
against a bare forward loop.

    python bench/eval.py [--quick] [--out ROWS.jsonl]

Linear: 10 runs of 3,000 iterations on batches of 10, SGD 0.01, weight decay 1e-4, 24 classes with 20 stills each, 512
features, 192 test stills, accuracy at 30 points; the same features, first weights and batches for both. The features
are drawn: classes a little apart, like those of a network that has learnt something. `loop` is what one writes first in
PyTorch: a linear layer, cross-entropy, an optimizer, run by run. Both give the accuracy of every run, which are
compared. Extraction: EfficientNet-Lite0 at 96 px and ResNet-18 at 128 px on 256 pictures, without the cache on disk,
against a loop over batches in eval mode.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from torch import nn
from tempo.backbones import LITE0, create_backbone, extract_features
from tempo.probes import sgd_preds, sgd_schedule, sgd_start
from tempo.stills import subset
from common import Results, parser, rounds, seconds

K = 24        # classes
PC = 20       # labels per class
F = 512       # features
M = 192       # test stills
POINTS = 30   # looks at the test stills
SGD = dict(lr=.01, wd=1e-4)

def features(seed=0):
    "Labelled and test features: every class has a mean, and they overlap"
    g = torch.Generator().manual_seed(seed)
    means = .2*torch.randn(K, F, generator=g)
    def draw(n):
        y = torch.arange(K).repeat_interleave(n//K)
        return (means[y]+torch.randn(n, F, generator=g)).relu(), y
    return draw(K*PC), draw(M)

def loop(x, y, xt, yt, idx, seed, iters, bs=10):
    "One run, as one would write it; accuracies at POINTS points"
    lin = nn.Linear(F, K)
    at, used = sgd_schedule(idx, iters, bs, seed)
    weight, bias = sgd_start(F, K, seed)
    lin.load_state_dict(dict(weight=weight.T, bias=bias[0]))
    rows = [i[v>0] for i,v in zip(at[:len(idx)//bs], used)]
    batches = [(x[i], y[i]) for i in rows]                        # made once, as the thesis did
    opt = torch.optim.SGD(lin.parameters(), lr=SGD['lr'], weight_decay=SGD['wd'])
    crit, accs = nn.CrossEntropyLoss(), []
    for t in range(iters):
        xb,yb = batches[t%len(batches)]
        opt.zero_grad()
        crit(lin(xb), yb).backward()
        opt.step()
        if (t+1)%(iters//POINTS)==0:
            with torch.no_grad(): accs.append((lin(xt).argmax(1)==yt).float().mean().item())
    return accs

def one_number(res, runs, iters, repeats):
    "All runs at one number of labels, against the loop over runs"
    (x, y), (xt, yt) = features()
    idx = [subset(y, PC, seed=r) for r in range(runs)]
    def tempo():
        _, preds = sgd_preds(x, y, xt, idx, n_classes=K, seeds=list(range(runs)),
            iters=iters, points=POINTS, **SGD)
        return (preds==yt.numpy()).mean(-1)
    def other(): return [loop(x, y, xt, yt, i, r, iters) for r,i in enumerate(idx)]
    accs = tempo().T                                              # (runs,points)
    off = 100*abs(accs-np.array(other())).max()
    last = round(float(accs[:,-1].mean()), 4)
    res.add('largest difference of an accuracy', 'points', off, 0, 'loop', off, most=.5, runs=runs, iters=iters, last_accuracy=last)
    t = rounds(dict(tempo=lambda: seconds(tempo), loop=lambda: seconds(other)), repeats)
    res.add(f'linear, {runs} runs, n = {PC}', 's', t['tempo'], t['loop'], 'loop',
        t['loop']/t['tempo'],
        least=10, runs=runs, iters=iters)

def five_numbers(res, runs, iters, repeats):
    "All runs at five numbers of labels together, against as many times one run of the loop"
    (x, y), (xt, yt) = features()
    ns = [1,5,10,15,20]
    idx = [subset(y, n, seed=r) for n in ns for r in range(runs)]
    seeds = list(range(runs))*len(ns)
    def tempo(): return sgd_preds(x, y, xt, idx, n_classes=K, seeds=seeds, iters=iters, points=POINTS, **SGD)
    def other(): return len(idx)*seconds(loop, x, y, xt, yt, idx[-1], 0, iters)
    t = rounds(dict(tempo=lambda: seconds(tempo), loop=other), repeats)
    what = f'linear, {runs} runs of each n = 1, 5, 10, 15, 20 together (beside fifty times one)'
    res.add(what, 's', t['tempo'], t['loop'], 'loop', t['loop']/t['tempo'],
        least=10, runs=len(idx), iters=iters)

def extraction(res, n, repeats):
    "Features of `n` pictures, against a bare loop"
    for arch,size in ((LITE0,96), ('resnet18',128)):
        b = create_backbone(arch, None).eval()
        images = np.random.default_rng(0).integers(0, 255, (n,size,size,3), np.uint8)
        def bare():
            batches = (torch.as_tensor(images[i:i+64]).permute(0,3,1,2) for i in range(0, n, 64))
            with torch.inference_mode(): return torch.cat([b(x) for x in batches])
        assert torch.equal(bare(), extract_features(b, images))
        t = rounds(dict(tempo=lambda: seconds(extract_features, b, images), bare=lambda: seconds(bare)), repeats)
        what = f'features, {arch}, {size} px'
        res.add(what, 'pictures/s', n/t['tempo'], n/t['bare'], 'bare loop',
            t['bare']/t['tempo'],
            least=.9, pictures=n)

def main():
    p = parser(__doc__)
    p.add_argument('--quick', action='store_true', help='a minute, for a look')
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    a = p.parse_args()
    res = Results(a.out, 'eval', threads=torch.get_num_threads(), quick=a.quick,
        load=round(os.getloadavg()[0],1))
    iters, repeats = (300, 2) if a.quick else (3000, 3)
    one_number(res, 10, iters, repeats)
    five_numbers(res, 10, iters, repeats)
    extraction(res, *((64, 2) if a.quick else (256, 7)))
    res.show()

if __name__=='__main__': main()
