"""Labels on video: each frame for itself, and four ways to smooth over time.

    python bench/prediction.py [--data ../shared/data] [--streams FOLDER] [--backbones imagenet,FILE,...] [--cache FOLDER] [--out results/prediction.jsonl]

A classifier (logistic regression, C = 10, temperature from the validation stills) is fitted on n labels per class and run over
every frame of a video whose spans are known. That is `asl10` (ten letters, ten takes in one room) and, with --streams, continuous
video that `make_streams.py` made of `asl24_video` (24 letters, cross-faded every few seconds, `spans.csv` beside it). A row for each
data set, stills, backbone, n and method has the share of frames that are right, and F1 of segments at an overlap of one half. Both
are means over videos, for each of three draws of the labels. Frames that no span covers (the empty wall of `asl10`) are left out.

A second kind of row leaves six letters (of `asl10`: three) out of the labels. Their frames and the empty wall are *none of these*:
which share is found, and which share of the other frames is still right, at two coverages. Features are kept in --cache, so that
methods can be tried without a network.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import csv, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from scipy.ndimage import uniform_filter1d
from tempo.backbones import LITE0, cached_features, extract_features, get_backbone
from tempo.classifier import Classifier, fit_temperature, none_threshold
from tempo.predict import frame_log_probs, runs_of, segment_f1, smooth
from tempo.probes import probe_head
from tempo.rows import add_row
from tempo.stills import labelled, subset
from tempo.video import read_frames
from common import parser

SIZE, RATE = 96, 30   # pixels, frames a second
DRAWS = 3             # of the labels
WINDOWS = (.5,1,2,3)  # seconds
STAYS = (.5,1,2,4,8)  # seconds

def spans_of(path):
    "{name of the video, or '': [(start, stop, label)]} of a table"
    out = {}
    with open(path, newline='') as f:
        for r in csv.DictReader(f):
            span = int(r['start']), int(r['stop']), r['label']
            out.setdefault(r.get('file', ''), []).append(span)
    return out

def video_features(backbone, name, path, cache):
    "Features of every frame, kept as a file"
    file = cache/f'{name}_{path.stem}.npy'
    if not file.exists():
        found, frames = [], []
        for _,frame in read_frames(path, SIZE):
            frames.append(frame)
            if len(frames)<128: continue
            found.append(extract_features(backbone, np.stack(frames)))
            frames = []
        if frames: found.append(extract_features(backbone, np.stack(frames)))
        np.save(file, torch.cat(found).numpy().astype(np.float16))
    return torch.from_numpy(np.load(file).astype(np.float32))

def window(seconds): return max(1, round(seconds*RATE))//2*2+1

def averaged(a, seconds):
    "The mean over a window in time, and where it is largest"
    return uniform_filter1d(a, window(seconds), axis=0, mode='nearest').argmax(1)

def vote(log_p, seconds):
    "The class that most frames of a window say"
    said = np.eye(log_p.shape[1])[log_p.argmax(1)]
    return averaged(said, seconds)

def mean_p(log_p, seconds): return averaged(np.exp(log_p), seconds)

def viterbi(log_p, stay, looks=3.):
    "The most probable course of events, under the model of `smooth`"
    K = log_p.shape[1]
    leave = min(.5, 1/(stay*RATE))
    price = np.log((1-leave)*(K-1)/leave)
    price /= min(1, looks/RATE)
    best, same = log_p[0].astype(float), np.arange(K)
    came = np.zeros(log_p.shape, np.int16)
    for t in range(1, len(log_p)):
        k = best.argmax()
        moved = best[k]-price
        came[t] = np.where(best>=moved, same, k)
        best = np.maximum(best, moved)+log_p[t]
    path = [int(best.argmax())]
    for row in came[:0:-1]: path.append(int(row[path[-1]]))
    return np.array(path[::-1])

def estimated(log_p):
    "Viterbi whose stay is estimated: begun at two seconds, and six times what was found"
    stay = 2.
    for _ in range(6):
        path = viterbi(log_p, stay)
        seconds, n = len(path)/RATE, len(runs_of(path))
        stay = max(2/RATE, seconds/n)
    return path

def methods():
    "{name: function of log-probabilities (T,K) that gives classes (T,)}"
    filters = {'vote':vote, 'mean of log-probabilities':averaged, 'mean of probabilities':mean_p}
    hmm = {'Viterbi':viterbi, 'forward-backward':lambda log_p, stay: smooth(log_p, RATE, stay=stay)[0]}
    out = {'each frame for itself': lambda log_p: log_p.argmax(1)}
    for group,all_seconds in ((filters,WINDOWS), (hmm,STAYS)):
        for name,f in group.items():
            for s in all_seconds: out[f'{name}, {s:g} s'] = lambda log_p, f=f, s=s: f(log_p, s)
    return out | {'Viterbi, estimated': estimated}

def classifier(backbone, sides, n, seed, without='', coverage=.99):
    "A classifier on n labels per class, without some of the classes"
    tr, te = sides
    keep = [k for k,name in enumerate(tr.classes) if name not in without]
    number = {k: i for i,k in enumerate(keep)}
    numbers = lambda labels: [number[k] for k in labels]
    x, x_held = (cached_features(backbone, s.images) for s in sides)
    drawn = subset(tr.labels, n, seed=seed)
    idx = drawn[np.isin(tr.labels[drawn], keep)]
    head = probe_head(x[idx], numbers(tr.labels[idx]), len(keep), C=10.)
    known = np.isin(te.labels, keep)
    with torch.no_grad(): scores = head(x_held[torch.from_numpy(known)]).numpy()
    T = fit_temperature(scores, numbers(te.labels[known]))
    names = [tr.classes[k] for k in keep]
    return Classifier(backbone, head, names, T, none_threshold(scores, coverage))

def truth(c, n, spans):
    "The class of each of n frames, by number; the number of classes stands for none of them"
    out = np.full(n, len(c.classes))
    for a,b,label in spans:
        if label in c.classes: out[a:b] = c.classes.index(label)
    return out

def judged_video(c, x, spans, f, none):
    "Share of right frames, of those of a class, of those of none, and F1, of one video"
    with torch.no_grad(): scores = c.head(x).numpy()
    said, true = f(frame_log_probs(c, scores, none)), truth(c, len(x), spans)
    if not none:                                        # the empty wall at the end belongs to no class
        end = max(stop for _,stop,_ in spans)
        said, true = said[:end], true[:end]
    known, right = true<len(c.classes), said==true
    of_none = right[~known].mean() if not known.all() else np.nan
    return right.mean(), right[known].mean(), of_none, segment_f1(runs_of(said), runs_of(true))

def judged(c, videos, spans, f, none=False):
    "The same, mean over the videos"
    found = [judged_video(c, x, spans[name], f, none) for name,x in videos.items()]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # nothing but classes was seen
        return np.nanmean(found, 0).round(4)

def compare_methods(backbone, sides, n, videos, spans):
    "Rows: every method, at n labels per class"
    each = [classifier(backbone, sides, n, seed) for seed in range(DRAWS)]
    for method,f in methods().items():
        found = np.array([judged(c, videos, spans, f) for c in each])
        yield dict(kind='prediction', n=n, method=method, frames=found[:,0], f1=found[:,3])

def compare_strangers(backbone, sides, strangers, videos, spans):
    "Rows: frames of classes that nobody labelled"
    ways = {'each frame for itself': lambda log_p: log_p.argmax(1), 'smoothed': lambda log_p: smooth(log_p, RATE)[0]}
    for coverage in (.95,.99):
        for without in ('', strangers):
            c = classifier(backbone, sides, 20, 0, without, coverage)
            for method,f in ways.items():
                right, known, *rest = judged(c, videos, spans, f, none=True)
                row = dict(kind='strangers', n=20, without=without, coverage=coverage, method=method)
                yield row | dict(frames=right, known=known, none=rest[0], f1=rest[1])

def data_sets(data, streams):
    "{name: (videos by name, table of spans, labels per class by stills, letters left out)}"
    out = {'asl10': ({'': data/'asl10/video.mp4'}, data/'asl10/spans.csv', {'asl10': (1,5,20)}, 'CFL')}
    if not streams: return out
    files = {f.name: f for f in sorted(Path(streams).glob('*.mp4'))}
    stills = {'asl24_video': (1,5,20), 'asl24': (5,)}
    return out | {'streams': (files, Path(streams)/'spans.csv', stills, 'ACEGIK')}

def measure(backbone, name, data, cache, kind):
    "All rows of a backbone and a data set"
    (files, table), (stills, strangers) = kind[:2], kind[2:]
    spans = spans_of(table)
    videos = {key: video_features(backbone, name, f, cache) for key,f in files.items()}
    for folder,ns in stills.items():
        sides = labelled(data/folder, SIZE)
        rows = [row for n in ns for row in compare_methods(backbone, sides, n, videos, spans)]
        if folder!='asl24': rows += compare_strangers(backbone, sides, strangers, videos, spans)
        for row in rows: yield row | dict(stills=folder, videos=len(videos), frames_of_video=sum(map(len, videos.values())))

def main():
    settings = dict(data=Path('../shared/data'), streams='', backbones='imagenet')
    args = parser(__doc__, **settings, cache=Path('.cache_prediction'), out='results/prediction.jsonl').parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    for b in args.backbones.split(','):
        backbone, name = get_backbone(b, LITE0), Path(b).stem
        for data,kind in data_sets(args.data, args.streams).items():
            for row in measure(backbone, name, args.data, args.cache, kind):
                row = add_row(args.out, data=data, backbone=name, size=SIZE, **row)
                print(data, name, row['stills'], row['n'], row['method'], row['frames'], row['f1'], flush=True)

if __name__=='__main__': main()
