"""As fast as the card? First whether what is computed there is right, then how fast, beside a bare loop and lightly's.

    python bench/gpu.py [--video PATH] [--tiny] [--device cuda] [--only resnet50,…] [--out results/gpu.jsonl]

One script that needs nothing but the repository, its wheels and one video; without one, a video is drawn. It has four parts,
and `--parts` names some of them:

- `checks`: losses, gradients and features against float64 on the CPU; a training that was cut off and went on, to the bit;
  batches from the card, from a thread and from the store, which have to be the same; every evaluation once on the device.
- `counts`: operations, and waits for the device, that one step takes. On a GPU PyTorch itself reports the waits; on a CPU
  the readings of a number are counted, which on a GPU would be waits.
- `profile`: where a step's time goes, by `torch.profiler`.
- `rates`: pairs a second, in interleaved rounds, all augmented as `aug='strong'` has it: `tempo`; `bare`, a loop in plain
  PyTorch on frames that are on the card already; both compiled; `lightly`, its Barlow Twins example with 16 workers, where
  it is installed; and `tempo` with one thing taken back at a time: `no_card` (a thread gathers batches into pinned memory),
  `no_thread` (neither), `no_fused` (fastai's own Adam), `waits` (every number is read at every step), `cudnn` (with
  `benchmark=True`), `tf32`, and `nchw` (the usual memory layout).

`--tiny` does all of it with a small network in less than a minute, on a CPU too, which is how it is tested. What `--only`
names then comes at that size: operations do not depend on it.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import contextlib, importlib.util, io, itertools, sys, tempfile, time, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastcore.basics import noop
from fastai.optimizer import Adam as PlainAdam
from PIL import Image
from common import Results, parser, rounds
from data import make_video
from tempo.augment import augment
from tempo.backbones import create_backbone, extract_features
from tempo.barlow_loss import Projector, create_loss
from tempo.checkpoint import Checkpoint, seeded
from tempo.data import FrameStore
from tempo.evaldata import load_eval_data
from tempo.linear_eval import knn_eval, linear_eval, suggest_labels
from tempo.lrp import classifier, lrp_heatmaps
from tempo.optim import count_ops
from tempo.pretrain import TempoModel, tempo_learner
from tempo.robustness import robustness
from tempo.sampling import PairDL, PairSampler, pair_dls
from tempo.semisup import semisup_eval
from tempo.stretches import find_stretches
from tempo.synthetic import make_signs

PARTS = 'checks', 'counts', 'profile', 'rates'
ROWS = dict(resnet50=(224,256), tf_efficientnet_lite0=(128,128), resnet34=(128,256))   # arch → pixels, pairs a batch
TINY = dict.fromkeys(['resnet18', *ROWS], (32,8))
TAU = 30      # largest distance of a pair (frames)

# ---- one step and many

def synchronise(device):
    "Wait until the device has done what it was asked for"
    if device.type=='cuda': torch.cuda.synchronize()

class Clock(Callback):
    "Ends a fit after `warm` steps and `steps` more, and times the latter"
    order = 99
    def __init__(self, warm, steps): self.warm, self.steps, self.n = warm, steps, 0
    def after_batch(self):
        self.n += 1
        if self.n not in (self.warm, self.warm+self.steps): return
        synchronise(self.dls.device)
        if self.n>self.warm: self.seconds = time.perf_counter()-self.began
        self.began = time.perf_counter()
        if self.n>self.warm: raise CancelFitException

class Job:
    "A network, a size of pictures, a batch, a device"
    def __init__(self, store, arch, bs, device, warm, steps):
        self.store, self.arch, self.bs = store, arch, bs
        self.device, self.warm, self.steps = device, warm, steps

    def dls(self, steps=None, **kw):
        "Pairs for as many steps as are timed, or for `steps`"
        n = (steps or self.warm+self.steps)*self.bs
        return pair_dls(self.store, self.bs, proximity=TAU, n=n, device=self.device, **kw)

    def rate(self, seconds): return self.steps*self.bs/seconds

def quietly(learn, *cbs):
    "One epoch without a word"
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=list(cbs))

def tempo(job, loading=None, lag=None, **how):
    "A function that trains some steps more and gives pairs a second"
    learn = tempo_learner(job.dls(**(loading or {})), job.arch, weights=None, **how)
    learn.watch.lag = lag
    def turn():
        clock = Clock(job.warm, job.steps)
        quietly(learn, clock)
        return job.rate(clock.seconds)
    return turn

def bare_step(job, compiled):
    "A function of two lists of frames: one step in plain PyTorch"
    frames = torch.as_tensor(job.store[np.arange(len(job.store))]).to(job.device)
    backbone = create_backbone(job.arch, None)
    model = TempoModel(backbone, Projector(backbone.n_features)).to(job.device, memory_format=torch.channels_last)
    if compiled: model.compile(**compiled)
    loss_of, on_gpu = create_loss('barlow'), job.device.type=='cuda'
    opt = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    def step(pair):
        i = pair.to(job.device, non_blocking=True)
        x = frames[i.flatten()].permute(0,3,1,2).float()/255
        x = augment(x, 'strong').as_subclass(torch.Tensor).contiguous(memory_format=torch.channels_last)
        with torch.autocast(job.device.type, torch.bfloat16, enabled=on_gpu): loss = loss_of(model(*x.chunk(2)))
        opt.zero_grad()
        loss.backward()
        opt.step()
    return step

def bare(job, compiled=None):
    "The same for a plain loop; the frames are on the device, and a batch is an index"
    step, sampler, turns = bare_step(job, compiled), PairSampler(job.store.bounds, proximity=TAU), itertools.count()
    def turn():
        pairs = sampler.epoch(next(turns), (job.warm+job.steps)*job.bs).reshape(-1, job.bs, 2)
        pairs = torch.from_numpy(pairs).transpose(1,2).contiguous()
        if job.device.type=='cuda': pairs = pairs.pin_memory()
        for pair in pairs[:job.warm]: step(pair)
        synchronise(job.device)
        began = time.perf_counter()
        for pair in pairs[job.warm:]: step(pair)
        synchronise(job.device)
        return job.rate(time.perf_counter()-began)
    return turn

def lightly(job, folder, workers):
    "The same for lightly's Barlow Twins example, with its views and its loader"
    from lightly.data import LightlyDataset
    from lightly.loss import BarlowTwinsLoss
    from lightly.models.modules import BarlowTwinsProjectionHead
    from train import lightly_views
    data = LightlyDataset(str(folder), transform=lightly_views(job.store.size, False))
    b, on_gpu = create_backbone(job.arch, None), job.device.type=='cuda'
    net = torch.nn.Sequential(b.body, BarlowTwinsProjectionHead(b.n_features, 1024, 1024)).to(job.device)
    crit, opt = BarlowTwinsLoss(), torch.optim.AdamW(net.parameters(), 1e-3)
    def step(views):
        x1, x2 = (v.to(job.device, non_blocking=True) for v in views)
        with torch.autocast(job.device.type, torch.bfloat16, enabled=on_gpu): loss = crit(net(x1).float(), net(x2).float())
        opt.zero_grad()
        loss.backward()
        opt.step()
    def turn():
        some = torch.randint(len(data), ((job.warm+job.steps)*job.bs,)).tolist()
        loader = torch.utils.data.DataLoader(data, job.bs, sampler=some, num_workers=workers, pin_memory=on_gpu)
        for k,(views,*_) in enumerate(loader):
            step(views)
            if k+1==job.warm: began = synchronise(job.device) or time.perf_counter()
        synchronise(job.device)
        return job.rate(time.perf_counter()-began)
    return turn

# ---- is it right?

def check(what, far, bound):
    "One line a check; what is too far ends the script"
    print(f'{"ok" if far<=bound else "WRONG":5} {what}: {far:.2g}, at most {bound:g}', flush=True)
    if not far<=bound: sys.exit(f'{what} is wrong on this device')

def apart(a, b):
    "The largest difference, as a share of the largest value of `b`"
    a, b = (o.detach().cpu().double() for o in (a,b))
    return float((a-b).abs().max()/b.abs().max())

def loss_and_gradient(name, z, device, dtype):
    "A loss of two views, and its gradient"
    z = z.to(device, dtype).requires_grad_()
    loss = create_loss(name)(tuple(z))
    return loss, *torch.autograd.grad(loss, z)

def check_numbers(job):
    "Losses, gradients and features against float64 on the CPU"
    z = torch.randn(2, 64, 128, generator=torch.Generator().manual_seed(0))
    for name in ('barlow','vicreg'):
        here = loss_and_gradient(name, z, job.device, torch.float32)
        there = loss_and_gradient(name, z, 'cpu', torch.float64)
        for what,a,b in zip(('value','gradient'), here, there): check(f'{name}, {what}', apart(a, b), 1e-4)
    net, frames = create_backbone(job.arch, None), job.store[np.arange(16)]
    x = torch.as_tensor(frames).permute(0,3,1,2).double()/255
    with torch.no_grad(): exact = net.double().eval()(x)
    check('features', apart(extract_features(net.float().to(job.device), frames), exact), 1e-3)

def check_batches(job):
    "The same batches whichever way they come"
    sampler = PairSampler(job.store.bounds, proximity=TAU)
    ways = dict(store=dict(prefetch=0, on_card=False), thread=dict(prefetch=2, on_card=False), card=dict(on_card=True))
    got = {k: list(PairDL(job.store, sampler, job.bs, n=3*job.bs, device=job.device, **kw)) for k,kw in ways.items()}
    for k in ('thread','card'):
        differ = sum(not torch.equal(a, b) for one,two in zip(got[k], got['store'], strict=True) for a,b in zip(one, two))
        check(f'batches by {k}', differ, 0)

class Stop(Callback):
    "Ends a training as a kill would"
    order = 90
    def __init__(self, after): self.after = after
    def after_batch(self):
        if self.train_iter==self.after: raise KeyboardInterrupt

def resumable(job, path, **kw):
    "Six steps, with a checkpoint every other one; the weights afterwards"
    with seeded(0), contextlib.redirect_stdout(io.StringIO()):
        dls = pair_dls(job.store, job.bs, proximity=TAU, n=6*job.bs, device=job.device)
        learn = tempo_learner(dls, job.arch, weights=None, proj=64, ema=.9)
        quietly(learn, Checkpoint(path, every=2), *kw.get('cbs', ()))
    return torch.cat([p.detach().flatten().cpu() for p in learn.model.parameters()])

def check_resume(job, tmp):
    "Cut off after five steps, gone on from the fourth: equal to the bit"
    torch.backends.cudnn.deterministic = True
    whole = resumable(job, tmp/'whole.ckpt')
    with contextlib.suppress(KeyboardInterrupt): resumable(job, tmp/'cut.ckpt', cbs=[Stop(5)])
    again = resumable(job, tmp/'cut.ckpt')
    torch.backends.cudnn.deterministic = False
    check('weights of a training that went on', float((whole-again).abs().max()), 0)

def check_evaluations(job, tmp):
    "Every evaluation once, where the device is"
    signs = make_signs(tmp/'signs', letters='AL', frames=20, test_frames=12, size=32, stills_pc=4, test_stills_pc=3, progress=False)
    kw, net = dict(arch=job.arch, size=32, cache=False), create_backbone(job.arch, None)
    data = load_eval_data(signs, 32)
    calls = dict(
        linear_eval=lambda: linear_eval('random', signs, runs=2, **kw),
        thesis=lambda: linear_eval('random', signs, runs=2, protocol='thesis', iters=30, **kw),
        knn_eval=lambda: knn_eval('random', signs, **kw),
        semisup_eval=lambda: semisup_eval('random', signs, runs=1, iters=2, bs=4, arch=job.arch, size=32),
        suggest_labels=lambda: suggest_labels(job.store, net, 3, cache=False),
        find_stretches=lambda: find_stretches(job.store, net, progress=False),
        lrp_heatmaps=lambda: lrp_heatmaps(classifier(net, data.train, cache=False), data.test.images[:2]),
        robustness=lambda: robustness(dict(r='random'), signs, 'noise', runs=1, strengths=dict(noise=[0]), relevance=False, **kw))
    for name,call in calls.items():
        began = time.perf_counter()
        call()
        print(f'ok    {name} ({time.perf_counter()-began:.1f} s)', flush=True)

# ---- what a step takes

READS = '_local_scalar_dense', 'is_nonzero', 'aten::nonzero', 'equal'

class Reads(torch.utils._python_dispatch.TorchDispatchMode):
    "Counts what reads a number from a tensor, which waits for a GPU"
    n = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += any(name in str(func) for name in READS)
        return func(*args, **(kwargs or {}))

def one_step(job, **how):
    "A function that takes one training step, a few times, of a Learner that has taken some"
    learn = tempo_learner(job.dls(12), job.arch, weights=None, every=1000, **how)
    learn.watch.lag, learn.logger = 1000, noop
    learn.remove_cb(ProgressCallback)
    quietly(learn, Clock(1, 1))
    learn.n_epoch, learn.epoch, learn.dl = 1, 0, learn.dls.train
    learn.n_iter, batches = len(learn.dl), iter(learn.dl)
    learn('before_fit')
    learn('before_epoch')
    learn('before_train')
    turns = itertools.count(1)
    def step():
        learn.train_iter = k = next(turns)
        learn.one_batch(k, next(batches))
    return step

def waits_of(step, device):
    "How often a step waits for the device"
    if device.type!='cuda':
        with Reads() as reads: step()
        return reads.n
    torch.cuda.set_sync_debug_mode('warn')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        step()
    torch.cuda.set_sync_debug_mode('default')
    return sum('synchroniz' in str(w.message) for w in said)

def counts(job, res):
    "Operations and waits a step, beside fastai's optimizer"
    steps = dict(tempo=one_step(job), fastai=one_step(job, opt=PlainAdam))
    for step in steps.values(): step()
    waits = {k: waits_of(step, job.device) for k,step in steps.items()}
    ops = {k: count_ops(step) for k,step in steps.items()}
    res.add(f'{job.arch}, waits a step', 'waits', waits['tempo'], waits['fastai'], "fastai's optimizer", waits['tempo'], most=0)
    res.add(f'{job.arch}, operations a step', 'operations', ops['tempo'], ops['fastai'], "fastai's optimizer", ops['tempo']/ops['fastai'])

def profile(job, steps=5):
    "Where the time of a few steps goes"
    step = one_step(job)
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if job.device.type=='cuda': activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as prof:
        for _ in range(steps): step()
        synchronise(job.device)
    by = 'self_device_time_total' if job.device.type=='cuda' else 'self_cpu_time_total'
    print(f'{job.arch}, {steps} steps\n{prof.key_averages().table(sort_by=by, row_limit=12, max_name_column_width=60)}')

# ---- how fast?

# who, beside whom, and the least ratio that is wanted on a GPU
COMPARED = [('tempo','bare',.95), ('tempo_compiled','bare_compiled',.95), ('tempo','lightly',1.3), ('no_card','tempo',None),
    ('no_thread','tempo',None), ('no_fused','tempo',None), ('waits','tempo',None), ('cudnn','tempo',None), ('tf32','tempo',None),
    ('nchw','tempo',None), ('tempo_compiled','tempo',None)]

def contenders(job, folder, workers, compiled):
    "Everybody, built"
    backend = {} if compiled is True else dict(backend=compiled)
    made = dict(
        tempo=tempo(job),
        bare=bare(job),
        no_card=tempo(job, dict(on_card=False)),
        no_thread=tempo(job, dict(on_card=False, prefetch=0)),
        no_fused=tempo(job, opt=PlainAdam),
        waits=tempo(job, lag=1),
        cudnn=tempo(job, benchmark=True),
        tf32=tempo(job, tf32=True),
        nchw=tempo(job, channels_last=False))
    if compiled: made |= dict(tempo_compiled=tempo(job, compile=compiled), bare_compiled=bare(job, backend))
    if importlib.util.find_spec('lightly'): made['lightly'] = lightly(job, folder, workers)
    else: print("lightly is not installed and is left out: pip install -e '.[bench]'")
    return made

def rates(job, res, folder, workers, compiled, repeats):
    "One network: all contenders, in rounds"
    got = rounds(contenders(job, folder, workers, compiled), repeats)
    for who,name,least in COMPARED:
        if who not in got or name not in got: continue
        goal = least if job.device.type=='cuda' else None
        what = f'{job.arch}, {job.store.size} px, {job.bs} pairs: {who}'
        res.add(what, 'pairs/s', got[who], got[name], name, got[who]/got[name], least=goal, arch=job.arch)

def write_pictures(store, folder, n):
    "The first frames as files, for lightly"
    folder.mkdir(exist_ok=True)
    for i in range(min(n, len(store))): Image.fromarray(store[i]).save(folder/f'{i:06d}.jpg', quality=95)
    return folder

def arguments():
    "What the command line says"
    p = parser(__doc__, parts=','.join(PARTS))
    p.add_argument('--video', type=Path, help='a video of a few thousand frames; without it, one is drawn')
    p.add_argument('--tiny', action='store_true', help='a small network and few steps, for a test')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='where to compute')
    p.add_argument('--only', help='architectures, with commas between them')
    p.add_argument('--compile', default=None, help="backend of torch.compile; 'no': nothing is compiled")
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    a = p.parse_args()
    a.device, a.rows = torch.device(a.device), TINY if a.tiny else ROWS
    a.compiled = {None: 'eager' if a.tiny else True, 'no': False}.get(a.compile, a.compile)
    usual = 'resnet18' if a.tiny else ','.join(ROWS)
    a.archs, a.parts = (a.only or usual).split(','), a.parts.split(',')
    unknown = [o for o in a.archs if o not in a.rows] + [o for o in a.parts if o not in PARTS]
    if unknown: p.error(f"{', '.join(unknown)} is none of {', '.join([*a.rows, *PARTS])}")
    return a

def run(a, tmp):
    "All networks, all parts"
    began, name = time.perf_counter(), torch.cuda.get_device_name() if a.device.type=='cuda' else 'cpu'
    video = a.video or make_video(tmp/'drawn.mp4', *((20,60) if a.tiny else (300,3000)))
    res = Results(a.out, 'gpu', video=Path(video).name, device=name, tiny=a.tiny, torch=torch.__version__)
    for k,arch in enumerate(a.archs):
        size, bs = a.rows[arch]
        store = FrameStore.build(video, tmp/f'store{size}', size, workers=0, progress=False)
        job = Job(store, arch, bs, a.device, *((1,2) if a.tiny else (5,20)))
        if 'checks' in a.parts and not k:
            for part in (check_numbers, check_batches): part(job)
            for part in (check_resume, check_evaluations): part(job, tmp)
        if 'counts' in a.parts: counts(job, res)
        if 'profile' in a.parts: profile(job)
        folder = write_pictures(store, tmp/f'jpg{size}', 20 if a.tiny else 2000)
        if 'rates' in a.parts: rates(job, res, folder, 1 if a.tiny else 16, a.compiled, 1 if a.tiny else 3)
        print(f'{time.perf_counter()-began:5.0f} s  {arch}', flush=True)
    res.show()

def main():
    a = arguments()
    with tempfile.TemporaryDirectory() as tmp: run(a, Path(tmp))

if __name__=='__main__': main()
