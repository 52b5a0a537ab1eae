"""Where temporal coherence helps, and where not: the start, the default, and what differs from it in one thing, on video whose
subject stays, on video whose subject changes, and on little video.

    python bench/domains.py [--data ../shared/data] [--only DOMAIN,DOMAIN:SETTING] [--seeds 42,1,2] [--jobs 2] [--full 0]
        [--out results/domains.jsonl] [--keep FOLDER]

A row is one training of EfficientNet-Lite0 from its ImageNet weights. It holds the stretches that were found, what the
training taught by `tempo.evidence`, and accuracies of linear evaluation on labelled stills: of the backbone as
`train_tempo` gives it (`kept`), and of the same training with its weights at a given share of the way from the start. The
setting `start` trains nothing, and `auto` is the default. Its trainings give a second row, `unwhitened`: the same weights
without the matrix that whitens their features. What differs from the default in one thing is compared with that, and has
no matrix either. `--keep FOLDER` keeps the backbones. `before` is what suits clips cut by class: pairs up to 300 frames
apart, BatchNorm statistics of the video, weights at .85. `lite1` and `lite2` are larger networks and their starts; their
steps are fewer, so that a training takes as long on a CPU as Lite0's. With `teacher`, Lite0 follows Lite2 beside the loss,
with `teacher alone` without it, and with `teacher same frame` without time. `small` is a network of less than half the
size that has no ImageNet weights; it learns alone, or from Lite2 as well. `jpeg` is the default out of a store of JPEG
pictures. `pilot` is `tempo.pilot`: what it says with labelled stills, and without. What `--out` already holds is not
trained again. How far the weights go is decided after a training, so `--weigh 1` trains nothing: it decides that anew for
the rows of `--out`, by the code at hand, and takes what was measured there.

- `streams`: continuous video made of `clips`; the subject changes every few seconds, cross-faded. `hard joins`: the same
  with cuts for fades. `half seconds`: the subject changes twice a second.
- `clips`: one subject each. `one clip`, `five clips`: little video of them.
- `ultrasound`: a clip is one patient. `mouse`: one take; its class is where the head points. `one room`: ten takes in one
  file, whose cuts are not used.

Trainings are short (`SHORT`), so that many fit into a night on two cores. `--full 1` takes the defaults instead.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import argparse, copy, json, subprocess, sys, time, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np
from fastcore.xdg import xdg_cache_home
from filelock import FileLock
from fastai.callback.core import Callback
from tempo.backbones import LITE0, LITES, create_backbone, save_backbone
from tempo.cuts import split_cuts
from tempo.data import FrameStore
from tempo.linear_eval import linear_eval
from tempo.evidence import TRUSTED, share_of
from tempo.pilot import judge_evidence, pilot
from tempo.pretrain import TrainConfig, train_tempo
from tempo.rows import add_row, code_version, load_rows
from tempo.stills import labelled
from tempo.utils import write_atomic
from common import accuracies, named, parser, side_by_side

SHORT = dict(steps=345, bs=96, size=96)
SIGNS = dict(asl24_video=[1,5,20], asl24=[1,5])              # labels per class
LITTLE = SIGNS | dict(asl10=[1,5])
DOMAINS = {                                                  # domain → where its video is, what it is measured on
    'streams': ('streams', SIGNS), 'clips': ('asl24_video/clips', SIGNS),
    'ultrasound': ('pocus/clips', dict(pocus=[1,5,20])), 'mouse': ('mouse/video.mp4', dict(mouse=[1,5])),
    'one room': ('asl10/video.mp4', LITTLE), 'one clip': ('asl24_video/clips', LITTLE),
    'five clips': ('asl24_video/clips', LITTLE), 'half seconds': ('streams', SIGNS), 'hard joins': ('streams', SIGNS)}
STREAMS = {                                                  # what `make_streams.py` is told
    'streams': [], 'hard joins': ['--fade', '0'], 'half seconds': ['--shortest', '13', '--longest', '17', '--fade', '4']}
PLAIN = dict(whiten=False)
TAUGHT = PLAIN | dict(teacher=LITES[2])
SMALL = PLAIN | dict(arch='mobilenetv3_small_100', weights=None)  # less than half of Lite0's weights, none of ImageNet's
SETTINGS = {                                                 # setting → what differs from train_tempo's defaults
    'start': None, 'pilot': None, 'auto': dict(), 'unwhitened': PLAIN, 'one look': PLAIN | dict(looks=1),
    'statistics learn': PLAIN | dict(bn=True), 'before': dict(proximity=300, bn=True, average=.85),
    '300': dict(proximity=300), '15': dict(proximity=15), 'copies': dict(proximity=1), 'jpeg': PLAIN,
    'lite1 start': dict(arch=LITES[1]), 'lite1': PLAIN | dict(arch=LITES[1], steps=287),
    'lite2 start': dict(arch=LITES[2]), 'lite2': PLAIN | dict(arch=LITES[2], steps=265),
    'teacher': TAUGHT, 'teacher alone': TAUGHT | dict(loss='none'),
    'teacher same frame': TAUGHT | dict(loss='none', proximity=1),
    'small start': SMALL, 'small': SMALL, 'small teacher': SMALL | TAUGHT,
    'small teacher same frame': SMALL | TAUGHT | dict(loss='none', proximity=1)}
SHARES = (.25, .5, .85)
# of a backbone's header
KEPT = ('config','frames','clips','steps','train_seconds','stretches','again','evidence','whitened','last')

class Copies(Callback):
    "Both views from one frame: what is left without time"
    order = 1                                                # before a teacher sees them, and before they are augmented
    def before_batch(self): self.learn.xb = (self.xb[0], self.xb[0])

def streams(domain):
    "A folder of continuous video, made where it is not there yet"
    out = xdg_cache_home()/'tempo'/'bench'/domain.replace(' ','_')
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{out}.lock'):                            # two jobs may want the same video
        if not (out/'spans.csv').exists():
            tool = args.data.parent/'tools'/'make_streams.py'
            subprocess.run([sys.executable, tool, args.data/'asl24_video/clips', out, *STREAMS[domain]], check=True)
    return out

def some_clips(n, seed):
    "A few of the clips; the seed decides which"
    files = sorted((args.data/'asl24_video/clips').glob('*.mp4'))
    chosen = np.random.default_rng(seed).choice(len(files), n, replace=False)
    return [files[i] for i in sorted(chosen)]

def source(domain, seed):
    "What is trained on"
    few = {'one clip': 1, 'five clips': 5}
    if domain in few: return some_clips(few[domain], seed)
    return streams(domain) if domain in STREAMS else args.data/DOMAINS[domain][0]

def as_pictures(video, size, cuts):
    "The store of a training, of JPEG pictures"
    store = FrameStore.build(video, size=size, codec='jpeg')
    return split_cuts(store) if cuts else store

def balanced(r, y):
    "Labels per class → mean over classes of the share that is right, for each draw"
    classes = [y==c for c in np.unique(y)]
    right = r.preds==y
    means = np.mean([right[...,c].mean(-1) for c in classes], axis=0)
    return {str(n): a.round(4).tolist() for n,a in zip(r.samples_pc, means)}

def measure(backbone, domain, size):
    "Data set → accuracies, and balanced accuracies where classes differ in size"
    found = {}
    for d,ns in DOMAINS[domain][1].items():
        y = labelled(args.data/d, 16)[1].labels
        r = linear_eval(backbone, args.data/d, ns, size=size, cache=False)
        found[d] = accuracies(r)
        sizes = set(np.bincount(y))
        if len(sizes)>1: found[f'{d}, balanced'] = balanced(r, y)
    return found

def without_matrix(backbone):
    "The same weights, not whitened"
    plain = copy.deepcopy(backbone)
    plain.whitening = None
    return plain

def kept_name(domain, setting, seed):
    "The file that keeps the backbone of a training"
    length = '_full' if args.full else ''
    return f'{domain}_{setting}_{seed}{length}.safetensors'.replace(' ', '_')

def train(domain, setting, seed, how):
    "One training: what its row says, the accuracies of its weights at several shares, and those without a matrix"
    how = dict(cuts=domain!='one room', average='auto') | how | SETTINGS[setting]
    arch = how.pop('arch', LITE0)
    cbs = [Copies()] if setting=='copies' or setting.endswith('same frame') else []
    video = source(domain, seed)
    if setting=='jpeg': video = as_pictures(video, how.get('size', TrainConfig.size), how['cuts'])
    learn = train_tempo(video, arch, seed=seed, out=None, cbs=cbs, **how)
    b = learn.model.backbone
    size = b.size
    if args.keep: save_backbone(b, Path(args.keep)/kept_name(domain, setting, seed))
    row = {k: b.meta[k] for k in KEPT if k in b.meta}
    accs = dict(kept=measure(b, domain, size))
    plain = accs if b.whitening is None else dict(kept=measure(without_matrix(b), domain, size))
    for share in SHARES: accs[str(share)] = measure(learn.interpolate(share), domain, size)
    return row, accs, plain

def start_of(setting):
    "The network that a setting starts from"
    return create_backbone(**dict(arch=LITE0) | (SETTINGS[setting] or {}))

def piloted(domain, seed, how):
    "What a pilot says, judged by labelled stills of the domain and by the video alone"
    home = next(iter(DOMAINS[domain][1]))
    settings = dict(cuts=domain!='one room', seed=seed) | how
    p = pilot(source(domain, seed), LITE0, data=args.data/home, **settings)
    return dict(pilot=p.to_dict(), without_stills=judge_evidence(p.stretches, p.evidence))

def one(domain, setting, seed):
    "One training (none for the start), measured, and its row"
    t, how = time.perf_counter(), {} if args.full else SHORT
    size, row, plain = how.get('size', 128), {}, None
    if setting.endswith('start'): accs = dict(kept=measure(start_of(setting), domain, size))
    elif setting=='pilot': row, accs = piloted(domain, seed, how), {}
    else: row, accs, plain = train(domain, setting, seed, how)
    about = dict(kind='domains', domain=domain, seed=seed, full=args.full, size=size, jobs=args.jobs)
    about |= dict(seconds=round(time.perf_counter()-t)) | row
    add_row(args.out, setting=setting, accs=accs, **about)
    if setting!='auto': return
    about.pop('whitened', None)
    about['config'] = row['config'] | PLAIN
    add_row(args.out, setting='unwhitened', accs=plain, **about)

def evidence_now(row):
    "What the code at hand makes of the evidence of a row: whether it is of a second training within stretches, and the share"
    e = dict(row['evidence'])
    if row['config']['proximity']!='auto': e.pop('second', None)
    if e.get('collapsed') or e['before'] is None: return e | dict(share=0.)
    how = dict(second=e.get('second', False), doubtful=e['before']<TRUSTED)
    share = share_of(e['low'], e['high'], e['seconds'], **how)
    return e | dict(share=share)

def weigh(row, starts):
    "The row with its weights where the code at hand puts them; they must have been measured there, or be those of the start"
    if not row.get('evidence'): return row
    e = evidence_now(row)
    share = e['share']
    if abs(share-row['evidence']['share'])<.002: return row  # the row has rounded numbers
    at = row['accs'] | {'0.0': starts.get((row['domain'], row['full']))}
    if not at.get(str(share)):
        which = f"{row['domain']}:{row['setting']}, seed {row['seed']}"
        sys.exit(f'{which}: weights at {share} were not measured. Take the row out and train again')
    accs = row['accs'] | dict(kept=at[str(share)])
    return row | dict(accs=accs, evidence=e, weighed=code_version())

def weigh_all():
    "The rows of the results file, weighed by the code at hand"
    rows = load_rows(args.out)
    trained_nothing = [r for r in rows if r['setting']=='start']
    starts = {(r['domain'], r['full']): r['accs']['kept'] for r in trained_nothing}
    lines = [json.dumps(weigh(row, starts)) for row in rows]
    write_atomic(args.out, '\n'.join(lines)+'\n')

def left_to_do():
    "Jobs (domain, setting, seed) that the results file does not hold yet, seed by seed"
    rows = load_rows(args.out) if args.out.exists() else []
    done = {(r['domain'], r['setting'], r['seed'], r['full']) for r in rows}
    seeds = [int(s) for s in args.seeds.split(',')]
    jobs = []
    for seed in seeds:
        of_seed = [(*what, seed) for what in named(args.only, DOMAINS, 'setting', SETTINGS)]
        jobs += [job for job in of_seed if seed==seeds[0] or not job[1].endswith('start')]
    return [job for job in jobs if (*job, args.full) not in done]

if __name__=='__main__':
    rows = Path(__file__).resolve().parent.parent/'results'/'domains.jsonl'
    p = parser(__doc__, data=Path('../shared/data'), only=','.join(DOMAINS), seeds='42,1,2', jobs=2, full=0, out=rows, weigh=0, keep='')
    p.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.keep: Path(args.keep).mkdir(parents=True, exist_ok=True)
    if args.one: one(*args.one)
    elif args.weigh: weigh_all()
    else:
        failed = side_by_side(__file__, left_to_do(), args.jobs)
        if failed: sys.exit(f'{failed} failed')
