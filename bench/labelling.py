"""How many clicks of the labelling page it takes, by simulation with known labels.

    python bench/labelling.py [--data ../shared/data] [--streams FOLDER] [--only asl10,streams,pocus] [--backbone imagenet]
        [--cache FOLDER] [--draws 2] [--out results/labelling.jsonl]

Somebody who knows every label answers the page (`tempo.app.Labelling`, with its labels in memory): a click a frame, or a click for
the whole run of similar frames. Against it stand frames at random, and as many as there were clicks chosen all at once by clusters
(`tempo.suggest.typical`). Of each, the head is the page's. Measured at several numbers of clicks: `frames`, the share of all frames
looked at whose label is right in the end, given answers included, and `stills`, the share of the validation stills (another take,
room or patient) that the head gets right. Frames that no span covers are passed over and not counted; they cost a click.

A row a data set and way has these for each draw (random: five). Rows of the page have besides what its cross-validation said
at some of these numbers, how long a fit took, and rows of runs how many frames a click labelled and which share of these was right.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import re, tempfile, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
import tempo.app
from tempo.app import LabelBook, Labelling
from tempo.backbones import LITE0, cached_features, get_backbone
from tempo.data import FrameStore
from tempo.probes import probe_head
from tempo.rows import add_row
from tempo.stills import labelled, span_labels
from tempo.suggest import typical
from common import parser, seconds
from prediction import spans_of

SIZE = 96                                         # pixels
CLICKS = 5, 10, 15, 20, 30, 40, 60
MEASURED = 20, 40, 60

class Memory(LabelBook):
    "Labels that stay in memory"
    def _pictures(self): return set()
    def _write(self, labels): self.labels = labels

def asl10(args, tmp):
    s = FrameStore.build(args.data/'asl10/video.mp4', tmp/'asl10', SIZE, progress=False)
    return s, span_labels(args.data/'asl10/spans.csv', len(s)), 'asl10'

def streams(args, tmp):
    s = FrameStore.build(args.streams, tmp/'streams', SIZE, progress=False)
    spans, truth = spans_of(Path(args.streams)/'spans.csv'), np.full(len(s), None, object)
    for c in s.clips:
        for start,stop,label in spans[Path(c.file).name]:
            a,b = (int(np.clip(v-c.first, 0, len(c)))+c.lo for v in (start,stop))
            truth[a:b] = label
    return s, truth, 'asl24_video'

def pocus(args, tmp):
    s = FrameStore.build(args.data/'pocus/clips', tmp/'pocus', SIZE, label=r'^([a-z]+)', progress=False)
    return s, np.concatenate([[c.label]*len(c) for c in s.clips]), 'pocus'

class Judge:
    "What a way of asking is worth"
    def __init__(self, lab, truth, stills, x_stills):
        self.lab, self.truth = lab, truth[lab.frames]
        self.known = np.array([t is not None for t in self.truth])
        self.stills, self.x_stills = stills, x_stills

    def shares(self, head, classes, given):
        "Right frames and right stills, of a head and the answers that were given"
        classes = np.array(classes, object)
        with torch.no_grad(): frames, stills = (classes[head(x).argmax(1)] for x in (self.lab.x, self.x_stills))
        for i,name in given.items(): frames[i] = name
        truth = np.array(self.stills.classes, object)[self.stills.labels]
        right = (frames==self.truth)[self.known]
        return [round(float(v.mean()), 4) for v in (right, stills==truth)]

    def of(self, chosen):
        "The same for frames that get their true labels"
        chosen = [i for i in chosen if self.known[i]]
        classes, y = np.unique(self.truth[chosen].astype(str), return_inverse=True)
        if len(classes)<2: return [0,0]
        head = probe_head(self.lab.x[chosen], y, len(classes), C=10.)
        return self.shares(head, classes, {i: self.truth[i] for i in chosen})

def estimate(lab):
    "What the page says of its own accuracy"
    m = lab.measure()
    return m and [round(m[k], 4) for k in ('accuracy','low','high')]

def click_through(judge, run):
    "Answer the page: shares at each number of clicks, its own estimates, frames a click, the share of them that are right"
    lab, shares = judge.lab, []
    own, wide = {}, []
    for n in range(1, CLICKS[-1]+1):
        i = lab.ask(1)[0]
        before = len(lab.book.labels)
        lab.answer(lab.pictures[i], judge.truth[i] or '', run)
        wide.append(len(lab.book.labels)-before)
        if n not in CLICKS: continue
        labels = [l for l in lab.book.labels.values() if l.name]
        given = {lab.number[l.picture]: l.name for l in labels}
        shares.append(judge.shares(lab.head, lab.classes, given) if lab.sure is not None else [0,0])
        if n in MEASURED and not run: own[n] = estimate(lab)
    right = np.mean([judge.truth[k]==name for k,name in given.items()])
    about = dict(frames_a_click=round(float(np.mean(wide)), 1))
    return shares, own, about | dict(answers_right=round(float(right), 4))

def measure(name, args, tmp):
    "The rows of a data set"
    store, truth, stills = globals()[name](args, tmp)
    backbone = get_backbone(args.backbone, LITE0)
    backbone.size = SIZE
    _,val = labelled(args.data/stills, SIZE)
    x_val = cached_features(backbone, val.images, cache=args.cache)
    def fresh(seed):
        lab = Labelling(store, backbone, tmp/'labels', cache=args.cache, seed=seed)
        return Judge(lab, truth, val, x_val)
    facts = dict(kind='labelling', data=name, backbone=Path(args.backbone).stem, size=SIZE, clicks=list(CLICKS))
    def add(way, shares, **more):
        frames, stills = np.array(shares).transpose(2,0,1).tolist()
        row = add_row(args.out, **facts, way=way, frames=frames, stills=stills, **more)
        means = (100*np.mean(frames, 0)).round(1).tolist()
        print(name, way, means, more, flush=True)
    judge = fresh(0)
    N = len(judge.lab)
    def draw(n, seed): return np.random.default_rng(seed).permutation(N)[:n]
    def clusters(n, seed): return typical(judge.lab.x, n, seed=seed)[0]
    def over(pick, draws): return [[judge.of(pick(n, s)) for n in CLICKS] for s in range(draws)]
    add('at random', over(draw, 5))
    add('all at once', over(clusters, args.draws))
    for way,run in {'page':False, 'page, whole runs':True}.items():
        done = [click_through(fresh(s), run) for s in range(args.draws)]
        shares, own, wide = zip(*done)
        own = {n: [o[n] for o in own] for n in MEASURED if not run}
        add(way, shares, **(wide[0] if run else dict(cross_validation=own)))
    fits(judge, args.out, facts)

def fits(judge, out, facts):
    "How long the head takes"
    known = np.flatnonzero(judge.known)
    for n in (50,200,500):
        chosen = np.random.default_rng(0).choice(known, n, replace=False)
        classes, y = np.unique(judge.truth[chosen].astype(str), return_inverse=True)
        fit = lambda: probe_head(judge.lab.x[chosen], y, len(classes), C=10.)
        took = round(float(np.median([seconds(fit) for _ in range(5)])), 3)
        about = dict(kind='labelling_fit', labels=n, classes=len(classes), threads=torch.get_num_threads())
        row = add_row(out, **facts | about, seconds=took)
        print(row['data'], n, row['seconds'], flush=True)

def main():
    options = dict(data=Path('../shared/data'), streams='', only='asl10,streams,pocus', backbone='imagenet', cache='', draws=2)
    args = parser(__doc__, **options, out='results/labelling.jsonl').parse_args()
    args.cache = args.cache or True
    tempo.app.LabelBook = Memory
    with tempfile.TemporaryDirectory() as tmp:
        for name in args.only.split(','): measure(name, args, Path(tmp))

if __name__=='__main__': main()
