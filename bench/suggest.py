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
import argparse, tempfile, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np
from scipy import stats
from tempo.backbones import LITE0, cached_features, get_backbone
from tempo.data import FrameStore, labelled, span_labels
from tempo.linear_eval import suggest_labels
from tempo.probes import logreg_preds
from tempo.report import add_row, two_way_interval

SIZE, PICKS = 96, 40

def asl10(data, tmp):
    s = FrameStore.build(data/'asl10/video.mp4', tmp/'asl10', SIZE, progress=False)
    return s, span_labels(data/'asl10/spans.csv', len(s))

def asl24_video(data, tmp):
    s = FrameStore.build(data/'asl24_video/clips', tmp/'asl24_video', SIZE, label=r'^([A-Z])_', progress=False)
    return s, np.concatenate([[c.label]*len(c) for c in s.clips])

class Judge:
    "What a pick of frames is worth"
    def __init__(self, backbone, data, store, names):
        tr,self.te = labelled(data, SIZE)
        self.backbone, self.store, self.classes = backbone, store, tr.classes
        self.y = np.array([tr.classes.index(l) if l in tr.classes else -1 for l in names])
        self.test = cached_features(backbone, self.te.images)
    def __call__(self, frames): # (M,) hits of the test stills, and how many classes were found
        i = np.array([f for f in frames if self.y[f]>=0])                                     # whoever labels throws the empty wall away
        found, y = np.unique(self.y[i], return_inverse=True)
        p,_ = logreg_preds(cached_features(self.backbone, self.store[i], cache=False), y, self.test, np.arange(len(i))[None], n_classes=len(found), C=10.)
        return found[p[0]]==self.te.labels, len(found)

def welch(a, b): # 95 % interval of mean(a)-mean(b)
    va, vb = a.var(ddof=1)/len(a), b.var(ddof=1)/len(b)
    df = (va+vb)**2/(va**2/(len(a)-1)+vb**2/(len(b)-1)) if va+vb else 1
    h, d = stats.t.ppf(.975, df)*(va+vb)**.5, a.mean()-b.mean()
    return [round(d-h,4), round(d+h,4)]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, default=Path('../shared/data')); p.add_argument('--backbones', default='imagenet'); p.add_argument('--out', default='results/suggest.jsonl')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        for make in (asl10, asl24_video):
            store, names = make(args.data, Path(tmp))
            for b in args.backbones.split(','):
                judge = Judge(get_backbone(b, LITE0), args.data/make.__name__, store, names)
                for n in (1,5):
                    k = n*len(judge.classes)
                    picks = {'suggested': lambda s: suggest_labels(store, judge.backbone, k, seed=s).frames,
                             'at random': lambda s: np.random.default_rng(s).choice(len(store), k, replace=False),
                             'evenly over time': lambda s: ((np.arange(k)+np.random.default_rng(s).random())*len(store)/k).astype(int)}
                    hits, found = {}, {}
                    for name,f in picks.items(): hits[name], found[name] = (np.array(x) for x in zip(*[judge(f(s)) for s in range(PICKS)]))
                    accs, base = {m:h.mean(1) for m,h in hits.items()}, hits['at random'].astype(float)
                    diff = {m: dict(mean=round(float(accs[m].mean()-base.mean()),4), over_picks=welch(accs[m], base.mean(1)), over_picks_and_stills=[round(float(v),4) for v in two_way_interval(h-base)])
                            for m,h in hits.items() if m!='at random'}
                    row = add_row(args.out, kind='suggest', data=make.__name__, backbone=Path(b).stem, size=SIZE, n=n, frames=k, picks=PICKS, test_stills=len(judge.te),
                                  accs={m:a.round(4) for m,a in accs.items()}, classes_found={m:round(float(f.mean()),2) for m,f in found.items()}, difference_to_random=diff)
                    print(row['data'], row['backbone'], n, {m:round(100*float(a.mean()),1) for m,a in accs.items()}, row['classes_found'], diff, flush=True)

if __name__=='__main__': main()
