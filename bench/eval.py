"""How fast is evaluation? All runs of the thesis's linear protocol together against the loop over runs; feature extraction
against a bare forward loop; stills that are read as they are needed against all of them in memory; networks that are
fine-tuned together against one after the other.

    python bench/eval.py [--quick] [--parts runs,features,stills,growth,together] [--out ROWS.jsonl]

Linear: 10 runs of 3,000 iterations on batches of 10, SGD 0.01, weight decay 1e-4, 24 classes with 20 stills each, 512
features, 192 test stills, accuracy at 30 points; the same features, first weights and batches for both. The features
are drawn: classes a little apart, like those of a network that has learnt something. `loop` is what one writes first in
PyTorch: a linear layer, cross-entropy, an optimizer, run by run. Both give the accuracy of every run, which are
compared. Extraction: EfficientNet-Lite0 at 96 px and ResNet-18 at 128 px on 256 pictures, without the cache on disk,
against a loop over batches in eval mode. Stills: linear evaluation of drawn JPEG pictures, every turn in a process of its
own; memory is the peak of that process beyond what Python, PyTorch and a small network take. Growth: the same for many
more of them, from their files alone. Together: a step of four
networks with the weights of `torch.func.stack_module_state` under `vmap`, against four steps; BatchNorm in eval mode.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import copy, multiprocessing, tempfile, time, warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from tempo.backbones import LITE0, Backbone, create_backbone, extract_features
from tempo.evaldata import load_eval_data
from tempo.linear_eval import linear_eval
from tempo.probes import sgd_preds, sgd_schedule, sgd_start
from tempo.stills import subset
from common import Results, parser, rounds, seconds

K = 24        # classes
PC = 20       # labels per class
DIM = 512     # features
M = 192       # test stills
POINTS = 30   # looks at the test stills
SGD = dict(lr=.01, wd=1e-4)
PARTS = 'runs', 'features', 'stills', 'growth', 'together'

def features(seed=0):
    "Labelled and test features: every class has a mean, and they overlap"
    g = torch.Generator().manual_seed(seed)
    means = .2*torch.randn(K, DIM, generator=g)
    def draw(n):
        y = torch.arange(K).repeat_interleave(n//K)
        return (means[y]+torch.randn(n, DIM, generator=g)).relu(), y
    return draw(K*PC), draw(M)

def loop(x, y, xt, yt, idx, seed, iters, bs=10):
    "One run, as one would write it; accuracies at POINTS points"
    lin = nn.Linear(DIM, K)
    at, used = sgd_schedule(idx, iters, bs, seed)
    weight, bias = sgd_start(DIM, K, seed)
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

# ---- stills that are read as they are needed

def draw_stills(folder, n, rng):
    "Noisy JPEG pictures of 320×240 pixels in two classes, a fifth of them to measure on"
    for k in range(n):
        to = folder/('val' if k%5==0 else 'train')/'AB'[k%2]
        to.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12,16,3), np.uint8)).resize((320,240), Image.BICUBIC)
        noisy = np.asarray(coarse)+rng.integers(-12, 13, (240,320,1))
        Image.fromarray(noisy.clip(0,255).astype(np.uint8)).save(to/f'{k}.jpg', quality=90)

def small_net():
    "A network that takes hardly any time or memory"
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 32, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return Backbone(body, arch='small', n_features=128)

def peak():
    "Most memory that this process has held (MB)"
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith('VmHWM'))/1e3

def evaluated(folder, memory):
    "Memory (MB), seconds and accuracy of a linear evaluation"
    warnings.simplefilter('ignore')
    net, before, began = small_net(), peak(), time.perf_counter()
    data = load_eval_data(folder, 224, masks=False, memory=memory)
    r = linear_eval(net, data, 20, runs=2, cache=False)
    return peak()-before, time.perf_counter()-began, float(r.accs.mean())

def alone(*args):
    "`evaluated` in a process of its own"
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool: return pool.submit(evaluated, *args).result()

def many_stills(res, n, repeats):
    "Linear evaluation of `n` stills, as they are needed and from memory"
    with tempfile.TemporaryDirectory() as tmp:
        draw_stills(Path(tmp), n, np.random.default_rng(0))
        got = rounds(dict(files=lambda: alone(tmp, 0), memory=lambda: alone(tmp, np.inf)), repeats)
    mb, took, accuracy = ({k: v[:,i] for k,v in got.items()} for i in range(3))
    assert (accuracy['files']==accuracy['memory']).all()
    about, name = dict(stills=n, size=224), 'all in memory'
    what = f'linear evaluation of {n:,} stills, 224 px'
    res.add(f'memory, {what}', 'MB', mb['files'], mb['memory'], name, mb['files']/mb['memory'], **about)
    res.add(what, 's', took['files'], took['memory'], name, took['memory']/took['files'], **about)

def growth(res, few, many):
    "How memory grows where stills stay in their files"
    found = {}
    for n in (few, many):
        with tempfile.TemporaryDirectory() as tmp:
            draw_stills(Path(tmp), n, np.random.default_rng(0))
            found[n] = alone(tmp, 0)[0]
    what, about, name = f'linear evaluation of {many:,} stills, 224 px', dict(stills=many, size=224), f'{few:,} stills'
    res.add(f'growth of memory, {what}', 'MB', [found[many]], [found[few]], name, found[many]/found[few], **about)

# ---- networks that are fine-tuned together

def to_tune(arch, k):
    "`k` networks with heads, BatchNorm in eval mode"
    bodies = [create_backbone(arch, None) for _ in range(k)]
    return [nn.Sequential(b, nn.Linear(b.n_features, K)).eval() for b in bodies]

def one_by_one(nets, xs, ys, lr=.01):
    "A step of each network; the losses"
    losses = []
    for net,x,y in zip(nets, xs, ys):
        loss = F.cross_entropy(net(x), y)
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad(): torch._foreach_sub_(list(net.parameters()), grads, alpha=lr)
        losses.append(loss.item())
    return losses

def stacked(nets, lr=.01):
    "A function that makes a step of all networks at once"
    params, buffers = stack_module_state(nets)
    params = {k: v.detach() for k,v in params.items()}
    base = copy.deepcopy(nets[0]).to('meta')
    def loss_of(p, b, x, y): return F.cross_entropy(functional_call(base, (p,b), (x,)), y)
    losses_of = vmap(grad_and_value(loss_of))
    def step(xs, ys):
        grads, losses = losses_of(params, buffers, xs, ys)
        torch._foreach_sub_(list(params.values()), [grads[k] for k in params], alpha=lr)
        return losses.tolist()
    return step

def together(res, k, repeats, bs=16, size=96):
    "A step of `k` networks at once, against `k` steps"
    for arch in ('resnet18', LITE0):
        nets = to_tune(arch, k)
        at_once = stacked(copy.deepcopy(nets))
        nets = [net.to(memory_format=torch.channels_last) for net in nets]
        xs, ys = torch.rand(k, bs, 3, size, size), torch.randint(K, (k,bs))
        last = [x.contiguous(memory_format=torch.channels_last) for x in xs]
        assert np.allclose(one_by_one(nets, last, ys), at_once(xs, ys), atol=1e-3)
        t = rounds(dict(vmap=lambda: seconds(at_once, xs, ys), loop=lambda: seconds(one_by_one, nets, last, ys)), repeats)
        what = f'fine-tuning step of {k} networks by vmap, {arch}, {size} px'
        res.add(what, 's', t['vmap'], t['loop'], 'one after the other', t['loop']/t['vmap'], networks=k, bs=bs)

def main():
    p = parser(__doc__, parts=','.join(PARTS))
    p.add_argument('--quick', action='store_true', help='a minute, for a look')
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    a = p.parse_args()
    unknown = [o for o in a.parts.split(',') if o not in PARTS]
    if unknown: p.error(f"{', '.join(unknown)} is none of {', '.join(PARTS)}")
    res = Results(a.out, 'eval', threads=torch.get_num_threads(), quick=a.quick,
        load=round(os.getloadavg()[0],1))
    iters, repeats = (300, 2) if a.quick else (3000, 3)
    def runs():
        one_number(res, 10, iters, repeats)
        five_numbers(res, 10, iters, repeats)
    def stills():
        for n in (200,400) if a.quick else (2000,6000): many_stills(res, n, 1)
    todo = dict(runs=runs, features=lambda: extraction(res, *((64, 2) if a.quick else (256, 7))),
        stills=stills, growth=lambda: growth(res, *((200,400) if a.quick else (6000,100000))), together=lambda: together(res, 4, repeats))
    for part in a.parts.split(','): todo[part]()
    res.show()

if __name__=='__main__': main()
