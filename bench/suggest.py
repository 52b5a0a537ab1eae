"""Which frames should be labelled? `suggest_labels` against picking at random, and evenly over time.

    python bench/suggest.py [--data ../shared/data] [--backbones imagenet,FILE,...] [--out results/suggest.jsonl]

n · classes frames are picked from the video (`asl10`: 10 letters in one video, labels from `spans.csv`; `asl24_video`:
24 letters in 29 clips, labels from the files' names), get their true label, and logistic regression (C = 10) on them is
measured on the validation stills, which come from another take or another room. A class that nobody picked cannot be
recognised: that is part of the matter. Forty picks of each kind: draws of the random generator, first guesses of the
clusters. One row a backbone, data set and n, with accuracies, classes found, and the difference to picking at random,
with its 95 % interval over picks (Welch's t) and over picks and stills (bootstrap).
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import tempfile, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np
from scipy import stats
from tempo.backbones import LITE0, cached_features, get_backbone
from tempo.data import FrameStore
from tempo.probes import logreg_preds
from tempo.rows import add_row
from tempo.statistics import two_way_interval
from tempo.stills import labelled, span_labels
from tempo.suggest import suggest_labels
from common import parser

SIZE = 96    # pixels
PICKS = 40   # of each kind

def asl10(data, tmp):
    s = FrameStore.build(data/'asl10/video.mp4', tmp/'asl10', SIZE, progress=False)
    return s, span_labels(data/'asl10/spans.csv', len(s))

def asl24_video(data, tmp):
    s = FrameStore.build(data/'asl24_video/clips', tmp/'asl24_video', SIZE, label=r'^([A-Z])_', progress=False)
    return s, np.concatenate([[c.label]*len(c) for c in s.clips])

class Judge:
    "What a pick of frames is worth"
    def __init__(self, backbone, data, store, names):
        train, self.test = labelled(data, SIZE)
        self.backbone, self.store, self.classes = backbone, store, train.classes
        number = {c: k for k,c in enumerate(train.classes)}
        self.y = np.array([number.get(name, -1) for name in names])
        self.features = cached_features(backbone, self.test.images)

    def __call__(self, frames):
        "(M,) hits of the test stills, and how many classes were found"
        i = np.array([f for f in frames if self.y[f]>=0])                     # whoever labels throws the empty wall away
        found, y = np.unique(self.y[i], return_inverse=True)
        x = cached_features(self.backbone, self.store[i], cache=False)
        preds, _ = logreg_preds(x, y, self.features, np.arange(len(i))[None],
            n_classes=len(found), C=10.)
        return found[preds[0]]==self.test.labels, len(found)

def welch(a, b):
    "95 % interval of mean(a)-mean(b)"
    va, vb = a.var(ddof=1)/len(a), b.var(ddof=1)/len(b)
    df = 1
    if va+vb: df = (va+vb)**2/(va**2/(len(a)-1)+vb**2/(len(b)-1))
    half = stats.t.ppf(.975, df)*(va+vb)**.5
    d = a.mean()-b.mean()
    return [round(d-half,4), round(d+half,4)]

def pickers(store, backbone, k):
    "Three ways to pick `k` frames, from a seed"
    def evenly(seed):
        offset = np.random.default_rng(seed).random()
        return ((np.arange(k)+offset)*len(store)/k).astype(int)
    return {'suggested': lambda seed: suggest_labels(store, backbone, k, seed=seed).frames,
        'at random': lambda seed: np.random.default_rng(seed).choice(len(store), k, replace=False),
        'evenly over time': evenly}

def difference(hits, base):
    "How far one way of picking is ahead of picking at random"
    accs = hits.mean(1)
    both = [round(float(v),4) for v in two_way_interval(hits-base)]
    return dict(mean=round(float(accs.mean()-base.mean()),4),
        over_picks=welch(accs, base.mean(1)),
        over_picks_and_stills=both)

def measure(judge, n):
    "Accuracies, classes found and differences at `n` frames for each class"
    hits, found = {}, {}
    for name,pick in pickers(judge.store, judge.backbone, n*len(judge.classes)).items():
        judged = [judge(pick(seed)) for seed in range(PICKS)]
        hits[name], found[name] = (np.array(o) for o in zip(*judged))
    base = hits['at random'].astype(float)
    return dict(accs={name: h.mean(1).round(4) for name,h in hits.items()},
        classes_found={name: round(float(f.mean()),2) for name,f in found.items()},
        difference_to_random={name: difference(h, base) for name,h in hits.items() if name!='at random'})

def main():
    args = parser(__doc__, data=Path('../shared/data'), backbones='imagenet', out='results/suggest.jsonl').parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        for make in (asl10, asl24_video):
            store, names = make(args.data, Path(tmp))
            for b in args.backbones.split(','):
                judge = Judge(get_backbone(b, LITE0), args.data/make.__name__, store, names)
                for n in (1,5):
                    facts = dict(kind='suggest', data=make.__name__, backbone=Path(b).stem, size=SIZE, n=n,
                        frames=n*len(judge.classes),
                        picks=PICKS)
                    row = add_row(args.out, **facts, test_stills=len(judge.test), **measure(judge, n))
                    means = {name: round(100*float(a.mean()),1) for name,a in row['accs'].items()}
                    print(row['data'], row['backbone'], n, means, row['classes_found'],
                        row['difference_to_random'], flush=True)

if __name__=='__main__': main()
