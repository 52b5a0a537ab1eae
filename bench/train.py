"""How fast training is: Tempo from a store beside a bare PyTorch loop on tensors in memory, and beside a loop in the
thesis's style.

    python bench/train.py [--video PATH] [--quick] [--only ARCH,ARCH] [--sizes 96,128] [--contenders tempo,bare,…]
        [--out ROWS.jsonl]

Every contender has a process of its own, which waits until it is its turn, and hands its memory back after it; they
train one after the other in rounds, each round in a new order. A turn is a few steps of one network at one size, the
first two of which do not count; its figure is pairs a second over the others. Loops with workers are given more batches
than they train on, so that their workers never run out of work. One round gives one ratio; what is reported is the
median ratio and its smallest and largest value. All of them train the same network with the same projector on random
weights, in float32, with Adam, on all cores.

- `tempo`: `tempo_learner` on a `FrameStore`, channels_last and `keep_memory` as `train_tempo` has them, without
  augmentation.
- `tempo_strong`: the same with its default augmentation, which no other contender has.
- `bare`: a plain loop, channels_last as well: uint8 tensors that lie in memory, to float, forward, loss, backward,
  step. Nothing else.
- `bare_keep`: the same with `keep_memory`, to tell what that is worth.
- `thesis`: the thesis's loop, written again: PNG files of the video's own size, PIL, the whole pdf for each draw,
  Resize, ToTensor, Normalize, a DataLoader with two worker processes, contiguous tensors, the two views one after the
  other through the network.
- `lightly`: the loop of lightly's documentation for Barlow Twins, with its loss, its projection head (of our width),
  its data set over the same PNG files, its augmentation (without blur, as there), and two worker processes. Both views
  come from one frame, as there. It is beside `tempo_strong`, which augments too.
- `lightly_channels_last`: the same with the network in channels_last, which is one line of its user's.
- `lightly_plain`: the same without augmentation: Resize and ToTensor for each view. It is beside `tempo`. These need
  the extra `bench`; without it they are left out, and the run says so.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import argparse, ctypes, gc, importlib.util, itertools, subprocess, sys, tempfile, time, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from fastai.callback.core import Callback, CancelFitException
from torchvision import transforms as T
from common import Results, parser, rounds
from data import TAU, PerItem, make_video, write_pngs
from tempo.backbones import IMAGENET_MEAN, IMAGENET_STD, create_backbone
from tempo.barlow_loss import BarlowTwinsLoss, Projector
from tempo.data import FrameStore
from tempo.pretrain import TempoModel, keep_memory, tempo_learner
from tempo.sampling import PairSampler, pair_dls

ARCHS = 'resnet18', 'resnet34', 'tf_efficientnet_lite0'
SIZES = 96, 128   # pixels
BS = 32           # pairs a batch
WARM = 2          # steps that do not count
SPARE = 6         # batches that nobody trains on

class Clock(Callback):
    "The time after each step; ends the training after `steps` of them"
    order = 99
    def __init__(self, steps): self.steps, self.times = steps, []
    def after_batch(self):
        self.times.append(time.perf_counter())
        if len(self.times)==self.steps: raise CancelFitException

def tempo(tmp, arch, size, steps, aug=None):
    "Moments after each step of a Tempo Learner"
    dls = pair_dls(FrameStore.open(tmp/f'store{size}'), BS, proximity=TAU, device='cpu')
    learn, clock = tempo_learner(dls, arch, weights=None, aug=aug, path=tmp), Clock(steps)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=clock)
    return clock.times

def loaded(data, some, steps):
    "`steps` batches from two worker processes, which are busy to the last of them"
    loader = torch.utils.data.DataLoader(data, batch_size=BS, sampler=some, num_workers=2)
    return itertools.islice(loader, steps)

def train(batches, loss_of, parameters):
    "Moments after each step of a plain loop"
    opt, times = torch.optim.AdamW(parameters, 1e-3), []
    for x1,x2 in batches:
        loss = loss_of(x1, x2)
        opt.zero_grad()
        loss.backward()
        opt.step()
        times.append(time.perf_counter())
    return times

def bare(tmp, arch, size, steps):
    "A plain loop on tensors in memory"
    store = FrameStore.open(tmp/f'store{size}')
    pairs = PairSampler(store.bounds, 'uniform', TAU).epoch(0, steps*BS).reshape(steps, 2, BS)
    batches = [[torch.from_numpy(store[k]).permute(0,3,1,2) for k in views] for views in pairs]
    b = create_backbone(arch, None)
    model = TempoModel(b, Projector(b.n_features)).to(memory_format=torch.channels_last)
    crit = BarlowTwinsLoss()
    return train(batches,
        lambda x1,x2: crit(model(x1.float()/255, x2.float()/255)),
        model.parameters())

def thesis(tmp, arch, size, steps):
    "A loop in the thesis's style"
    files = {int(f.stem): f for f in (tmp/'png').glob('*.png')}
    items = PerItem(files, max(files)+1)
    items.tfm = T.Compose([T.Resize(size), T.ToTensor(),
        T.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    some = np.random.default_rng().integers(min(files)+TAU, max(files)-TAU,
        (steps+SPARE)*BS).tolist()
    b = create_backbone(arch, None)
    net, head, crit = b.body, Projector(b.n_features), BarlowTwinsLoss()
    batches = ((x1,x2) for x1,x2,_ in loaded(items, some, steps))
    return train(batches, lambda x1,x2: crit((head(net(x1)), head(net(x2)))),
        [*net.parameters(), *head.parameters()])

def lightly_views(size, plain):
    "What lightly makes of a picture: two views"
    from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
    from lightly.transforms.multi_view_transform import MultiViewTransform
    if plain:
        one = T.Compose([T.Resize(size), T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
        return MultiViewTransform([one, one])
    first = BYOLView1Transform(input_size=size, gaussian_blur=0.)
    return BYOLTransform(first, BYOLView2Transform(input_size=size, gaussian_blur=0.))

def lightly(tmp, arch, size, steps, plain=False, layout=torch.contiguous_format):
    "lightly's Barlow Twins example"
    from lightly.data import LightlyDataset
    from lightly.loss import BarlowTwinsLoss as Loss
    from lightly.models.modules import BarlowTwinsProjectionHead
    data = LightlyDataset(str(tmp/'png'), transform=lightly_views(size, plain))
    b = create_backbone(arch, None)
    net, crit = b.body.to(memory_format=layout), Loss()
    head = BarlowTwinsProjectionHead(b.n_features, 1024, 1024)
    some = torch.randint(len(data), ((steps+SPARE)*BS,)).tolist()
    batches = (views for views,*_ in loaded(data, some, steps))
    return train(batches, lambda x1,x2: crit(head(net(x1)), head(net(x2))),
        [*net.parameters(), *head.parameters()])

CONTENDERS = dict(
    tempo=tempo,
    tempo_strong=lambda *a: tempo(*a, aug='strong'),
    bare=bare,
    bare_keep=bare,
    thesis=thesis,
    lightly=lightly,
    lightly_channels_last=lambda *a: lightly(*a, layout=torch.channels_last),
    lightly_plain=lambda *a: lightly(*a, plain=True))

def serve(who, tmp):
    "In a process of its own: one line in, `ARCH SIZE STEPS`; one line out, pairs a second"
    if who in ('tempo','tempo_strong','bare_keep'): keep_memory()
    for line in sys.stdin:
        arch, size, steps = line.split()
        times = CONTENDERS[who](Path(tmp), arch, int(size), int(steps)+WARM)
        print(f'PAIRS {BS*int(steps)/(times[-1]-times[WARM-1])}', flush=True)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)           # seven that wait must not hold the memory that the eighth needs

class Peer:
    "A contender's process"
    def __init__(self, who, tmp):
        self.who = who
        cmd = [sys.executable, '-W', 'ignore', __file__, '--serve', who, str(tmp)]
        self.p = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, *job):
        try: print(*job, file=self.p.stdin, flush=True)
        except BrokenPipeError: pass                             # it has ended, which is said below
        for line in self.p.stdout:
            if line.startswith('PAIRS'): return float(line.split()[1])
        raise RuntimeError(f'{self.who} ended early, with status {self.p.wait()} (-9: killed, most likely for want of memory)')

    def end(self):
        self.p.stdin.close()
        self.p.wait()

# who, beside whom, and the least ratio that is wanted
COMPARED = [('tempo','bare',.95), ('tempo','thesis',1.3), ('tempo','bare_keep',None), ('bare_keep','bare',None), ('tempo_strong','bare',None),
    ('tempo_strong','thesis',None), ('tempo_strong','lightly',None), ('tempo_strong','lightly_channels_last',None), ('tempo','lightly_plain',None)]
SAID = dict(tempo_strong=', augmented', bare_keep=', keep_memory alone')

def measure(res, peers, arch, size, quick):
    "One network at one size"
    job = arch, size, 2 if quick else 3
    turns = {name: (lambda peer=peer: peer.rate(*job)) for name,peer in peers.items()}
    got = rounds(turns, 2 if quick else 3)
    for who,name,least in COMPARED:
        if who not in got or name not in got: continue
        what = f"{arch}, {size} px{SAID.get(who, '')}"
        res.add(what, 'pairs/s', got[who], got[name], name, got[who]/got[name],
            least=least, arch=arch, size=size)

def contenders(names):
    "Those that can run here"
    if importlib.util.find_spec('lightly') or not any(name.startswith('lightly') for name in names): return names
    print("lightly is not installed and is left out: pip install -e '.[bench]'")
    return [name for name in names if not name.startswith('lightly')]

def run(a, tmp):
    "All networks and sizes"
    video = a.video or make_video(tmp/'synthetic.mp4', *((100,750) if a.quick else (300,1500)))
    began = time.perf_counter()
    sizes = [int(s) for s in a.sizes.split(',')]
    for size in sizes: store = FrameStore.build(video, tmp/f'store{size}', size,
        workers=0, progress=False)
    write_pngs(video, tmp, range(0, min(len(store), 600)))
    peers = {name: Peer(name, tmp) for name in contenders(a.contenders.split(','))}
    load = round(os.getloadavg()[0], 1)
    res = Results(a.out, 'train', video=Path(video).name, bs=BS, threads=torch.get_num_threads(),
        quick=a.quick, load=load)
    for arch in a.only.split(',') if a.only else ARCHS:
        for size in sizes:
            measure(res, peers, arch, size, a.quick)
            print(f'{time.perf_counter()-began:5.0f} s  {arch} {size}', flush=True)
    for peer in peers.values(): peer.end()
    res.show()

def main():
    p = parser(__doc__)
    p.add_argument('--video', type=Path, help='a video of a few thousand frames; without it, one is made')
    p.add_argument('--quick', action='store_true', help='fewer steps and rounds')
    p.add_argument('--only', help='architectures, with commas between them')
    p.add_argument('--sizes', default=','.join(map(str, SIZES)), help='sides of the pictures (pixels)')
    p.add_argument('--contenders', default=','.join(CONTENDERS), help='which of them; tempo, bare and thesis are what the targets are about')
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    p.add_argument('--serve', nargs=2, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.serve: return serve(*a.serve)
    with tempfile.TemporaryDirectory() as tmp: run(a, Path(tmp))

if __name__=='__main__': main()
