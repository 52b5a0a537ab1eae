"""Are near duplicates across train and test found, and does nothing else pass for one?

    python bench/leaks.py [--data ../shared/data] [--out results/leaks.jsonl]

Training stills of five data sets are changed as copies change (compressed, halved, cropped, brightened, all of it) and
taken for test stills; so are the frames that follow them in their video, where there is one. Recall is the share of them
that `near_duplicates` finds. The test stills themselves show how many it names where sides were filmed apart (`asl10`,
`asl24`, `asl24_video`), come from other patients (`pocus`) or from the same recording (`mouse`), and `by_still` how many
where frames of the same videos are split at random. Each is measured on the thumbnails that evaluations use and on the
features of ImageNet's EfficientNet-Lite0. A row for each data set and kind of features, with the nearest pairs.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import io, time, warnings
from dataclasses import replace
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np
from PIL import Image, ImageEnhance
from tempo.backbones import LITE0, cached_features, get_backbone
from tempo.rows import add_row
from tempo.splits import near_duplicates, thumbs
from tempo.stills import Stills, labelled
from tempo.video import find_sources, read_frames
from common import parser

SIZE = 128     # pixels
SETS = 'asl10 asl24 asl24_video pocus mouse'.split()
VIDEO = dict(asl10='video.mp4', asl24_video='clips', pocus='clips')
GROUPS = dict(pocus=r'^([^_]+)_')     # the others' sides were filmed apart, and nobody wrote down what belongs together
EVERY = 50     # frames between two that are learnt from, of a video

def jpeg(im):
    f = io.BytesIO()
    im.save(f, 'JPEG', quality=30)
    return Image.open(f).convert('RGB')

def halved(im):
    half = im.resize((im.width//2, im.height//2), Image.BILINEAR)
    return half.resize(im.size, Image.BILINEAR)

def cropped(im, share=.05):
    k = round(im.width*share/2)
    inner = im.crop((k, k, im.width-k, im.height-k))
    return inner.resize(im.size, Image.BILINEAR)

def brighter(by):
    return lambda im: ImageEnhance.Brightness(im).enhance(by)

CHANGES = dict(jpeg_30=jpeg, halved=halved, cropped_5=cropped, darker=brighter(.7),
    brighter_20=brighter(1.2),
    brighter_40=brighter(1.4),
    cropped_brighter_jpeg=lambda im: jpeg(brighter(1.2)(cropped(im))))

def changed(stills, how):
    "The same stills, changed"
    images = [how(Image.fromarray(x)) for x in stills.images]
    return replace(stills, images=np.stack([np.asarray(x) for x in images]))

def network():
    "Features of ImageNet's start, of length 1"
    b = get_backbone('imagenet', LITE0)
    def features(images):
        x = np.asarray(cached_features(b, images), np.float32)
        return x/np.linalg.norm(x, axis=1, keepdims=True)
    return features

def video_frames(folder, later):
    "Of all clips: every `EVERY`th frame, and those `later` frames after them"
    now, then = [], {k: [] for k in later}
    for source in find_sources(folder):
        frames = dict(read_frames(source, SIZE))
        firsts = range(0, max(frames)-max(later), EVERY)
        now += [frames[i] for i in firsts]
        for k in later: then[k] += [frames[i+k] for i in firsts]
    return np.stack(now), {k: np.stack(v) for k,v in then.items()}

def unlabelled(images):
    "Pictures as `Stills` of one class"
    n = len(images)
    return Stills(images, np.zeros(n, int), ['any'], list(range(n)))

def share_found(train, test, features):
    "Share of the test stills that have a near duplicate"
    return len(near_duplicates(train, test, features=features))/len(test)

def in_video(folder, features, later=(1,5)):
    "Share of later frames that are found"
    now, then = video_frames(folder, later)
    now = unlabelled(now)
    return {f'{k} frames later': share_found(now, unlabelled(v), features) for k,v in then.items()}

def by_still(train, features, seed=0):
    "Share of a random fifth of the training stills that are found among the rest"
    order = np.random.default_rng(seed).permutation(len(train))
    cut = len(train)//5
    def part(i):
        return replace(train, images=train.images[i], labels=train.labels[i], groups=None,
            files=[train.files[k] for k in i])
    return share_found(part(order[cut:]), part(order[:cut]), features)

def measure(data, name, features):
    "What a row says of a data set"
    train, test = labelled(data/name, SIZE, groups=GROUPS.get(name))
    begin = time.perf_counter()
    pairs = near_duplicates(train, test, features=features)
    seconds = time.perf_counter()-begin
    recall = {}
    for how,change in CHANGES.items():
        recall[how] = share_found(train, changed(train, change), features)
    if name in VIDEO: recall |= in_video(data/name/VIDEO[name], features)
    nearest = near_duplicates(train, test, features=features, below=np.inf)
    return dict(train_stills=len(train), test_stills=len(test), grouped=name in GROUPS,
        recall={k: round(v,4) for k,v in recall.items()},
        named=len(pairs), by_still=round(by_still(train, features), 4),
        smallest=[round(r,3) for r in nearest.ratio[:8]],
        pairs=[[Path(s).name for s in pair] for pair in pairs.drop(columns='ratio').values],
        seconds=round(seconds,3))

def main():
    args = parser(__doc__, data=Path('../shared/data'), out='results/leaks.jsonl').parse_args()
    settings = dict(kind='leaks', size=SIZE, below=.3, every=EVERY)
    for kind,features in (('thumbs',thumbs), (f'imagenet {LITE0}',network())):
        for name in SETS:
            row = add_row(args.out, data=name, features=kind, **settings, **measure(args.data, name, features))
            print(name, kind, row['recall'], row['named'], row['smallest'], flush=True)

if __name__=='__main__': main()
