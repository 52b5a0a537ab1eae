"""Is any damaged input taken wrongly and without a word? Mutants of every kind of file that Tempo reads, each judged.

    python bench/fuzz.py [--n 2000] [--seed 0] [--only video,stills,…] [--out results/fuzz.jsonl] [--one KIND:K] [--keep FOLDER]

The inputs are made here (`mutants.py`), as small as they can be. A mutant is one of them with bytes flipped, overwritten,
cut out, put in, zeroed, exchanged or missing at the end; JSON within is also damaged value by value, by hypothesis. The
same seed gives the same mutants, and `--one video:17` makes one of them again and shows all that is said of it.

Each mutant is read in a process that has limits of time and memory. What comes out is one of

- `right`: it is read, and what comes out is right, as is said below;
- `refused`: a ValueError, OSError, RuntimeError or FloatingPointError of one line that names a file;
- `silent wrong`: it is read without a word, and what comes out is not right;
- `crash`: the process died. `hang`: there was no answer within the limit of time;
- `unnamed error`: an error of any other type, of several lines or that names no file; a build with `on_error='skip'`
  that ends all the same; damage in a store that building again does not mend.

The last four should be 0, and the exit code is 1 where they are not. What is right, kind by kind:

- `video`: frames carry their number. No more frames come than the clip had or ffmpeg (PyAV) gives for the same mutant,
  and no more that show an earlier number, at the end above all, than ffmpeg gives damaged or repeated: so decoders fill
  in what is damaged, each in its way, and damaged pixels are nobody's fault, because these codecs have no checksums. Not
  more than a tenth and two frames are lost without a word, and no clip goes on over a gap of ten frames. Packets that are
  there and become no frame (a lost key frame) are lost unless the build says how many there are; no more than ffmpeg
  gives no frame for. What is missing before the first frame does not count (a recording may begin within a group of
  pictures), nor, in TS and MPG, which do not know their length, what is after the last one. Where `raise` refuses a
  mutant, it is built with `skip` beside a whole clip, which has to be kept whole.
- `stills`: PNG has checksums, so every pixel is right, and in masks every id; so it is where the end of any file is
  missing. In other formats a changed byte is another picture, and size and type of what comes are looked at.
- `coco`: pictures, classes, crowds and masks are those of the damaged JSON, read here by other means. It has to be
  refused where it contradicts itself: an id twice, a picture twice, numbers that are none or out of all proportion, run
  lengths that do not fill the picture, paths that lead out of the folder.
- `backbone`, `checkpoint`: every tensor and every value is what was written; kept features are right or computed again.
  Backbones that are whole but hold edited values, and checkpoints that lack a part, are loaded and gone on from: only
  how that is refused counts there.
- `spans`: labels are what Python's csv reads; overlaps, other columns and other numbers have to be refused.
- `labels`: files of other labelling tools (Label Studio, CVAT, COCO, FiftyOne, CSV). Pictures, classes and the number of
  entries without a class are those of the damaged file, which is read here once more, and strictly: it has to be refused
  where something is there twice, is of another type, or is of a picture or class that is not there.
- `archive`: every member is right; of a plain tar, which has no checksums of its content, names and sizes are. Nothing is
  written outside of the folder, and nothing is left by a refusal.
- `store`: frames and clips are right, or opening or `verify()` refuses them; building again mends all of it.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
os.environ.setdefault('OMP_NUM_THREADS', '1')
import csv, io, json, math, multiprocessing, re, shutil, signal, sys, tempfile, time, traceback, warnings, zipfile
from collections import Counter, namedtuple
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
import numpy as np
from common import parser
from mutants import CLIPS, FPS, FRAMES, SIDE, STILL, contents, damage, deep, drawn, edit, encodable, ids, number_of, numbered, picture, \
    stills, write_clip, write_tar, write_zip
from tempo.rows import add_row

LIMIT = 30         # seconds a mutant
MEMORY = 4<<30     # bytes beyond what a process has when it begins
GAP = 10           # frames between two neighbours of a clip
REFUSALS = (ValueError, OSError, RuntimeError, FloatingPointError)
BAD = ('silent wrong', 'crash', 'hang', 'unnamed error')
OUTCOMES = ('right', 'refused', *BAD)

class Wrong(Exception):
    "Something was read, and it is not right"

class Unmended(Exception):
    "An error where none may be"

@dataclass
class Mutant:
    path:Path       # The damaged file
    name:str        # Of what it was
    how:str         # It is damaged
    names:tuple     # Files that a refusal may name

class Kind:
    "One kind of input; `folder` is its own, `originals` are whole files in it"
    text = ()       # Originals that are JSON
    def __init__(self, folder, seed):
        self.folder, self.seed = folder, seed
        self.home, self.work = folder/'whole', folder/'work'
        if not self.home.exists(): self.prepare()
        self.originals = sorted(f for f in self.home.iterdir() if f.is_file() and f.name[0]!='_')
        self.begin()

    def prepare(self):
        "Make the originals, all or none"
        part = self.folder/'part'
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self.make(part)
        part.rename(self.home)

    def begin(self):
        "What is done once a process"

    def damaged(self, original, rng, k):
        "(how, bytes) of mutant `k`"
        data = original.read_bytes()
        if original.name in self.text and rng.random()<.6:
            doc = edit(json.loads(data), drawn(self.seed, k))
            return 'edit', json.dumps(doc).encode()
        return damage(data, rng)

    def mutant(self, k):
        "Mutant `k`, written to a fresh folder"
        rng = np.random.default_rng([self.seed, list(KINDS).index(type(self).__name__.lower()), k])
        original = self.originals[rng.integers(len(self.originals))]
        how, data = self.damaged(original, rng, k)
        return self.placed(original.name, how, data)

    def placed(self, name, how, data):
        "A mutant of these bytes"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        path = self.work/f'mutant{Path(name).suffix}'
        path.write_bytes(data)
        return Mutant(path, name, how, (path.name,))

    def check_whole(self):
        "Undamaged, every original is right"
        for f in self.originals: self.judge(self.placed(f.name, 'whole', f.read_bytes()))

# ---- video

def lost(numbers, name):
    "How many frames are missing after the first one that came, in TS and MPG up to the last one that did"
    open_ended = Path(name).suffix in ('.ts','.mpg')
    known = [(i,n) for i,n in enumerate(numbers) if n is not None]
    if not known: return 0 if open_ended else FRAMES-len(numbers)
    (i,first), (j,last) = known[0], known[-1]
    return (last-first)-(j-i) if open_ended else (FRAMES-first)-(len(numbers)-i)

def straddled(numbers):
    "The largest gap between two frames that follow each other"
    pairs = [(a,b) for a,b in zip(numbers, numbers[1:]) if a is not None and b is not None]
    return max((b-a for a,b in pairs), default=0)

def fresh(numbers):
    "Whether each frame shows a number above all before it; others are damaged, or what decoders put in place of damaged ones"
    known = [-1 if n is None else n for n in numbers]
    before = np.maximum.accumulate([-1,*known])[:-1]
    return np.array(known)>before

def copies(numbers):
    "How many frames show an earlier number"
    return sum(n is not None and not new for n,new in zip(numbers, fresh(numbers)))

def at_the_end(numbers):
    "How many frames come after the last one that is new"
    new = np.flatnonzero(fresh(numbers))
    return len(numbers)-1-new[-1] if len(new) else len(numbers)

def by_ffmpeg(path):
    "The numbers of the frames that PyAV gives, whatever the errors on the way"
    return [n for packet in packets(path) for n in decoded(packet)]

def undecoded(path, shown):
    "How many packets of a file became no frame"
    return max(0, sum(p.size>0 for p in packets(path))-len(shown))

def unseen(said, path):
    "How many packets of a file gave no picture, as a build says"
    m = re.search(rf'^no picture: {re.escape(str(path))}: (\d+) packets', said, re.M)
    return int(m[1]) if m else 0

def packets(path):
    "Packets as far as they can be read"
    import av
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best('video')
            stream.thread_type = 'AUTO'           # as ffmpeg has it: where pixels are damaged, it matters
            yield from demuxed(container, stream)
    except (av.FFmpegError, AttributeError, ValueError): return

def demuxed(container, stream):
    "Packets of `stream`; PyAV does not know a stream that begins in the middle of a file"
    for _ in range(9):
        try: return (yield from container.demux(stream))
        except IndexError: pass

def decoded(packet):
    "The numbers of the frames of a packet"
    import av
    try: frames = packet.decode()
    except av.FFmpegError: return []
    return [number_of(squared(f.to_ndarray(format='rgb24'))) for f in frames]

def squared(a):
    "A frame of the usual size, whatever it was"
    from PIL import Image
    return a if a.shape==(SIDE,SIDE,3) else np.asarray(Image.fromarray(a).resize((SIDE,SIDE)))

class Video(Kind):
    def make(self, folder):
        for name,how in encodable().items(): write_clip(folder/name, *how)
        write_clip(folder/'_whole.mp4', *CLIPS['h264.mp4'], frames=10)

    def build(self, sources, on_error):
        from tempo.data import FrameStore
        shutil.rmtree(self.folder/'store', ignore_errors=True)
        return FrameStore.build(sources, self.folder/'store', SIDE, on_error=on_error, workers=0, progress=False)

    def judge(self, m):
        try:
            with redirect_stdout(io.StringIO()) as out: store = self.build([m.path], 'raise')
        except REFUSALS as e:
            if is_clear(e, m): self.skip(m)
            raise
        numbers = [number_of(f) for f in store[:]]
        shown = self.compare(m, numbers)
        told = unseen(out.getvalue(), m.path)
        none = undecoded(m.path, shown)
        if told > none: raise Wrong(f'{told} packets are said to have given no picture, and {none} did not')
        gone = lost(numbers, m.name)-told
        if gone > .1*FRAMES+2: raise Wrong(f'{gone} of {FRAMES} frames are lost: {short(numbers)}')
        gap = max(straddled(numbers[c.lo:c.hi]) for c in store.clips)
        if gap > GAP: raise Wrong(f'a clip goes on over a gap of {gap} frames: {short(numbers)}')

    def skip(self, m):
        "Beside a whole clip, what can be saved is saved"
        whole = self.home/'_whole.mp4'
        try: store = self.build([m.path, whole], 'skip')
        except Exception as e: raise Unmended(f"on_error='skip' ends the build: {type(e).__name__}: {e}") from e
        of = {whole: [], m.path: []}
        for c in store.clips: of[Path(c.file)] += [number_of(f) for f in store[c.lo:c.hi]]
        if of[whole]!=list(range(10)): raise Wrong(f'the whole clip beside it has the frames {of[whole]}')
        if of[m.path]: self.compare(m, of[m.path])

    def compare(self, m, numbers):
        "Refuse what ffmpeg does not give, which is returned"
        shown = by_ffmpeg(m.path)
        says = f'frames {short(numbers)}, ffmpeg {short(shown)}'
        if len(numbers)>max(FRAMES, len(shown)): raise Wrong(says)
        if max((n for n in numbers if n is not None), default=0)>=FRAMES: raise Wrong(says)
        if copies(numbers)>len(shown)-sum(fresh(shown)): raise Wrong(says)
        if copies(numbers) and at_the_end(numbers)>at_the_end(shown): raise Wrong(says)
        return shown

def short(numbers):
    "Numbers as runs: `0–19, ?, 40`"
    runs = []
    for n in numbers:
        if runs and n is not None and runs[-1][1]==n-1 and runs[-1][1] is not None: runs[-1][1] = n
        else: runs.append([n,n])
    return ', '.join('?' if a is None else str(a) if a==b else f'{a}–{b}' for a,b in runs)

# ---- stills

class Stills(Kind):
    def make(self, folder):
        for name,im in stills().items(): im.save(folder/name)

    def begin(self):
        from tempo.masks import read_ids
        from tempo.pictures import open_image
        self.read = lambda f, name: read_ids(f) if name=='ids.png' else open_image(f, STILL)
        self.want = {f.name: self.read(f, f.name) for f in self.originals}

    def check_whole(self):
        right = {'ids.png': ids(), 'grey16.png': np.repeat((deep()>>8)[...,None], 3, -1)}
        for name,a in self.want.items():
            off = abs(a.astype(int)-right.get(name, picture()))
            if off.mean()>(1 if name.endswith('.png') else 16): raise Wrong(f'{name} is off by {off.mean():.1f}')

    def judge(self, m):
        a, want = self.read(m.path, m.name), self.want[m.name]
        exact = m.path.suffix=='.png' or m.how=='truncate'
        if exact and not np.array_equal(a, want): raise Wrong(f'{np.mean(a!=want):.1%} of its values are others')
        if a.shape!=want.shape or a.dtype!=want.dtype: raise Wrong(f'{a.dtype} {a.shape}')

# ---- COCO

SHEETS = ('a.png','b.png','c.png')    # pictures of the data set
HEIGHT, WIDTH = 24, 32

def runs(mask):
    "Uncompressed run lengths of a mask, down the columns, beginning with background"
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat))+1
    counts = np.diff(np.r_[0, ends, len(flat)]).tolist()
    return [0]+counts if flat[0] else counts

def unrolled(counts):
    "The mask of uncompressed run lengths"
    flat = np.repeat(np.arange(len(counts))%2, counts)
    return flat.reshape(WIDTH, HEIGHT).T.astype(bool)

def box(x, y, w, h):
    "A mask that is a box"
    mask = np.zeros((HEIGHT,WIDTH), bool)
    mask[y:y+h,x:x+w] = True
    return mask

def coco():
    "A COCO data set of three pictures, two classes, and masks of all three kinds"
    from tempo.coco import encode
    size = [HEIGHT,WIDTH]
    images = [dict(id=i, file_name=f, width=WIDTH, height=HEIGHT) for i,f in enumerate(SHEETS, 1)]
    segs = [[[2.,2.,12.,2.,12.,9.,2.,9.]], dict(size=size, counts=runs(box(16,4,9,11))), encode(box(3,12,8,8)),
        [[4.,4.,20.,4.,20.,15.,4.,15.],[22.,3.,28.,3.,28.,9.]], dict(size=size, counts=runs(box(0,0,6,24)))]
    anns = [dict(id=i, image_id=1+i%3, category_id=1+i%2, segmentation=s, iscrowd=0, area=1, bbox=[0,0,1,1])
        for i,s in enumerate(segs, 1)]
    anns[-1]['iscrowd'] = 1
    cats = [dict(id=1, name='hand'), dict(id=2, name='face')]
    return dict(info={}, images=images, annotations=anns, categories=cats)

def is_number(x, most=None):
    "Whether `x` is a finite number, and not of another order of magnitude than a picture"
    plain = isinstance(x, (int,float)) and not isinstance(x, bool) and math.isfinite(x)
    return plain and (most is None or abs(x)<=most)

def unusable(seg):
    "Why a segmentation has to be refused; empty: it need not be"
    if isinstance(seg, list):
        if not all(isinstance(p, list) and len(p)>=6 and len(p)%2==0 for p in seg): return 'a polygon that is none'
        return '' if all(is_number(x, 50*WIDTH) for p in seg for x in p) else 'coordinates beyond sense'
    counts = seg.get('counts') if isinstance(seg, dict) else None
    if isinstance(counts, str): return ''
    if not isinstance(counts, list): return 'no run lengths'
    whole = all(is_number(c) and c>=0 and c==int(c) for c in counts)
    return '' if whole and sum(counts)<=HEIGHT*WIDTH else 'run lengths that are none'

def twice(objects, key):
    "A value that occurs twice under `key`"
    seen = Counter(json.dumps(o.get(key)) for o in objects)
    return next((v for v,n in seen.items() if n>1), None)

def contradiction(d):
    "Why a COCO dict has to be refused; empty: it need not be"
    for part in ('images','annotations','categories'):
        if not all(isinstance(o, dict) for o in d[part]): return f'{part} that are no objects'
        if twice(d[part], 'id') is not None: return f'{part}: an id twice'
    for r in d['images']:
        if not isinstance(r.get('file_name'), str): return 'a file name that is none'
        if '..' in r['file_name']: return 'a path that leads out'
    if twice(d['images'], 'file_name') is not None: return 'a picture twice'
    for a in d['annotations']:
        if a.get('iscrowd') not in (None,0,1): return 'iscrowd that is neither 0 nor 1'
        why = unusable(a.get('segmentation'))
        if why: return why
    return ''

def mask_of(seg):
    "The mask of a segmentation, by other means where it can be"
    from pycocotools import mask as M
    if isinstance(seg, list): return M.decode(M.merge(M.frPyObjects(seg, HEIGHT, WIDTH))).astype(bool)
    if isinstance(seg['counts'], str): return M.decode(dict(seg, size=[HEIGHT,WIDTH])).astype(bool)
    return unrolled(filled(seg['counts']))

def filled(counts):
    "Run lengths, with background to the end"
    counts = [int(c) for c in counts]
    rest = HEIGHT*WIDTH-sum(counts)
    return counts+([0] if len(counts)%2 else [])+[rest] if rest else counts

class Coco(Kind):
    text = ('theirs.json','ours.json')
    def make(self, folder):
        from PIL import Image
        from tempo.coco import masks_to_coco
        (folder/'images').mkdir()
        for i,f in enumerate(SHEETS): Image.fromarray(picture(i)[:HEIGHT,:WIDTH]).save(folder/'images'/f)
        (folder/'theirs.json').write_text(json.dumps(coco()))
        masks_to_coco(folder/'images', folder/'theirs.json', folder/'ours.json')

    def judge(self, m):
        from tempo.coco import check_coco, masks_to_coco
        m.names += SHEETS
        images, out = self.home/'images', self.work/'out.json'
        masks_to_coco(images, m.path, out)
        if m.name=='ours.json': check_coco(m.path, images)
        self.compare(json.loads(m.path.read_text('utf-8-sig')), json.loads(out.read_text()))

    def compare(self, d, made):
        "Refuse a data set `made` of `d` that says something else"
        why = contradiction(d)
        if why: raise Wrong(f'it is taken with {why}')
        want, got = self.listed(d), self.listed(made)
        if want!=got: raise Wrong(f'{len(want)} annotations in, {len(got)} out; first difference: {first_difference(want, got)}')

    def listed(self, d):
        "Every annotation as (picture, class, crowd, mask), sorted"
        files = {r['id']: Path(r['file_name']).name for r in d['images']}
        names = {c['id']: str(c['name']) for c in d['categories']}
        out = []
        for a in d['annotations']:
            bits = np.packbits(mask_of(a['segmentation'])).tobytes().hex()
            out.append((files[a['image_id']], names[a['category_id']], int(a.get('iscrowd') or 0), bits))
        return sorted(out)

def first_difference(a, b):
    "The first of `a` that is not in `b`, or of `b` that is not in `a`"
    for o in a:
        if o not in b: return o
    return next((o for o in b if o not in a), 'order')

# ---- backbones and kept features

def tiny():
    "A network of two layers"
    from torch import nn
    from tempo.backbones import Backbone
    layers = nn.Conv2d(3,8,3,stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8,6)
    return Backbone(nn.Sequential(*layers), arch='fuzz_net', n_features=6)

def register():
    "Make `fuzz_net` an architecture"
    from tempo.backbones import register_arch
    def fuzz_net(): return tiny()
    register_arch(fuzz_net)

def said(b):
    "What a backbone says of itself"
    about = dict(arch=b.arch, n_features=b.n_features, size=b.size)
    return about | dict(mean=b.mean.flatten().tolist(), std=b.std.flatten().tolist())

def repacked(data, seed, k, inner):
    "A .safetensors file whose header, or the JSON `inner` it, was edited"
    n = int.from_bytes(data[:8], 'little')
    head, body = json.loads(data[8:8+n]), data[8+n:]
    if inner: head['__metadata__']['tempo'] = json.dumps(edit(json.loads(head['__metadata__']['tempo']), drawn(seed, k)))
    else: head = edit(head, drawn(seed, k))
    text = json.dumps(head).encode()
    return len(text).to_bytes(8,'little')+text+body

def edited_pth(data, seed, k, inner):
    "A .pth file that is whole and holds edited values"
    import torch
    d = torch.load(io.BytesIO(data), weights_only=True)
    if inner: d['tempo'] = json.dumps(edit(json.loads(d['tempo']), drawn(seed, k)))
    else: d = edit(d, drawn(seed, k))
    f = io.BytesIO()
    torch.save(d, f)
    return f.getvalue()

class Backbone(Kind):
    def make(self, folder):
        import torch
        from tempo.backbones import cached_features, save_backbone
        register()
        torch.manual_seed(0)
        b = tiny()
        for ending in ('safetensors','pth'): save_backbone(b, folder/f'net.{ending}', note='as it was trained')
        cached_features(b, self.pictures(), cache=folder/'kept')
        kept, = (folder/'kept').glob('*.safetensors')
        shutil.copy(kept, folder/'features.safetensors')

    def pictures(self):
        return np.stack([picture(i) for i in range(12)])

    def begin(self):
        from tempo.backbones import extract_features, load_backbone
        register()
        self.net = load_backbone(self.home/'net.safetensors')
        self.features = extract_features(self.net, self.pictures())
        self.kept = next((self.home/'kept').glob('*.safetensors')).name

    def damaged(self, original, rng, k):
        data, edited = original.read_bytes(), original.stem=='net' and rng.random()<.4
        if not edited: return damage(data, rng)
        anew = repacked if original.suffix=='.safetensors' else edited_pth
        return 'edit', anew(data, self.seed, k, rng.random()<.6)

    def judge(self, m):
        if m.name=='features.safetensors': self.judge_kept(m)
        else: self.judge_net(m)

    def judge_kept(self, m):
        import torch
        from tempo.backbones import cached_features
        cache = self.work/'cache'
        cache.mkdir()
        shutil.copy(m.path, cache/self.kept)
        try: x = cached_features(self.net, self.pictures(), cache=cache)
        except Exception as e: raise Unmended(f'kept features end it: {type(e).__name__}: {e}') from e
        if not torch.equal(x, self.features): raise Wrong('kept features are others')

    def judge_net(self, m):
        import torch
        from tempo.backbones import extract_features, load_backbone
        b = load_backbone(m.path)
        old, new = self.net.state_dict(), b.state_dict()
        if old.keys()!=new.keys(): raise Wrong('it has other tensors')
        for name,v in old.items():
            if not torch.equal(v, new[name]): raise Wrong(f'{name} is another')
        if m.how!='edit' and (said(b)|b.meta)!=(said(self.net)|self.net.meta): raise Wrong(f'it says {said(b)|b.meta}')
        if extract_features(b, self.pictures()).shape!=(12,b.n_features): raise Wrong(f'it says {b.n_features} features')

# ---- checkpoints

def equal(a, b):
    "Whether nested values are equal, tensors bit by bit"
    import torch
    if isinstance(a, torch.Tensor): return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict): return isinstance(b, dict) and a.keys()==b.keys() and all(equal(v, b[k]) for k,v in a.items())
    if isinstance(a, (list,tuple)): return isinstance(b, (list,tuple)) and len(a)==len(b) and all(map(equal, a, b))
    return a==b

class Checkpoint(Kind):
    def make(self, folder):
        self.train(folder/'run.ckpt')

    def train(self, path):
        "Two steps, with a checkpoint after the first; from the checkpoint where it is there"
        from tempo.checkpoint import Checkpoint
        from tempo.pretrain import tempo_learner
        learn = tempo_learner(self.loader(), weights=tiny(), proj=16, freeze=False)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=Checkpoint(path, every=1))

    def loader(self):
        "Pairs of a store of 32 frames"
        from tempo.data import FrameStore
        from tempo.sampling import pair_dls
        clip = self.folder/'pairs.mp4'
        if not clip.exists(): write_clip(clip, *CLIPS['mpeg4.avi'], frames=32)
        store = FrameStore.build(clip, self.folder/'pairs', 32, workers=0, progress=False)
        return pair_dls(store, 8, proximity=4, n=16)

    def begin(self):
        import torch
        self.state = torch.load(self.home/'run.ckpt', weights_only=True)

    def damaged(self, original, rng, k):
        from tempo.checkpoint import write_checkpoint
        if rng.random()<.8: return damage(original.read_bytes(), rng)
        f, key = self.folder/'edited.ckpt', str(rng.choice(list(self.state)))
        other = [None, 0, 'x', [], {}, -1, 2.5][rng.integers(7)]
        write_checkpoint(f, {k: other if k==key else v for k,v in self.state.items() if k!=key or rng.random()<.6})
        return f'edit of {key}', f.read_bytes()

    def judge(self, m):
        from tempo.checkpoint import read_checkpoint
        if m.how.startswith('edit'): return self.train(m.path)
        state = read_checkpoint(m.path, json.loads(self.state['config']))
        for key in self.state:
            if not equal(self.state[key], state.get(key)): raise Wrong(f'{key} is another')

# ---- tables of spans

SPANS = 'start,stop,label\n0,10,A\n10,25,B\n30,40,A\n40,41,C\n50,60,B\n'

def as_span(row):
    "(start, stop, label) of a row; an error where it is none"
    start, stop, label = int(row['start']), int(row['stop']), row['label']
    if not 0<=start<stop<=FRAMES or not label or any(row.get(None) or ()): raise ValueError(row)
    return start, stop, label

def labels_of(text):
    "The labels of all frames; None where the table has to be refused"
    out = [None]*FRAMES
    try:
        rows = csv.DictReader(io.StringIO(text, newline=''))
        for start,stop,label in map(as_span, rows):
            if any(o is not None for o in out[start:stop]): return None
            out[start:stop] = [label]*(stop-start)
    except (ValueError, KeyError, TypeError, csv.Error): return None
    return out if any(out) or text.startswith('start,stop,label') else None

def rewritten(text, rng):
    "The table in a way in which people write it"
    line = SPANS.splitlines()
    ways = [text.replace(',', ';'), '\ufeff'+text, text.replace('\n', '\r\n'), '\n'.join(line[1:]), line[0]+'\n', '',
        text.replace('10', '10.0'), text.replace('10,25', '5,25'), text.replace('A', 'Ä'), text.replace(',label', ''),
        text.replace('60', '61'), text.replace('25', ' 25 '), text.replace('0,10', '10,0'), text.replace(',A', ',')]
    return ways[rng.integers(len(ways))]

class Spans(Kind):
    def make(self, folder):
        (folder/'spans.csv').write_text(SPANS)

    def damaged(self, original, rng, k):
        if rng.random()<.6: return damage(original.read_bytes(), rng)
        encoding = 'latin-1' if rng.random()<.1 else 'utf-8'
        return 'rewritten', rewritten(SPANS, rng).encode(encoding, 'ignore')

    def judge(self, m):
        from tempo.stills import span_labels
        got = [o for o in span_labels(m.path, FRAMES)]
        try: want = labels_of(m.path.read_bytes().decode('utf-8-sig'))
        except UnicodeDecodeError: want = None
        if want is None: raise Wrong('it is taken, and has to be refused')
        same = [a==b or (a and b and a==b.strip()) for a,b in zip(got, want)]
        if not all(same): raise Wrong(f'frame {same.index(False)} is {got[same.index(False)]!r}')

# ---- labels of other tools

CLASSES = {'A/one.png': 'hand', 'A/two.png': 'hand', 'B/three.png': 'face', 'B/four.png': 'the face', 'five.png': 'face'}

def keys_once(pairs):
    "A dict; an error where a key is there twice"
    d = dict(pairs)
    if len(d)<len(pairs): raise ValueError('a key twice')
    return d

def of_type(value, kind):
    "A value; an error where it is of another type"
    if type(value) is not kind: raise TypeError(f'{value!r} is no {kind.__name__}')
    return value

def as_id(value):
    "An id; an error where it can be none"
    return value if isinstance(value, str) else of_type(value, int)

def the_one(names):
    "The one class of an entry; None where it has none"
    names = {of_type(name, str) for name in names}-{''}
    if len(names)>1: raise ValueError('two classes')
    return next(iter(names), None)

def by_id(objects, key):
    "{id: value under `key`}; an error where an id is there twice"
    return keys_once([(as_id(o['id']), of_type(o[key], str)) for o in of_type(objects, list)])

def of_csv(data):
    "(picture, class) of each line"
    text = io.StringIO(data.decode('utf-8-sig'), newline='')
    head, *body = [row for row in csv.reader(text, strict=True) if row]
    if sorted(head)!=['class','file'] or any(len(row)!=2 for row in body): raise ValueError('other columns')
    return [(row[head.index('file')], row[head.index('class')].strip() or None) for row in body]

def of_cvat(data):
    "(picture, class) of each image"
    from xml.dom import minidom
    root = minidom.parseString(data).documentElement
    if root.tagName!='annotations': raise ValueError('other XML')
    tags = lambda image: [tag.attributes['label'].value for tag in image.getElementsByTagName('tag')]
    return [(image.attributes['name'].value, the_one(tags(image))) for image in root.getElementsByTagName('image')]

def of_coco(d):
    "(picture, class) of each image"
    files, names = by_id(d['images'], 'file_name'), by_id(d['categories'], 'name')
    said = {k: [] for k in files}
    for a in of_type(d['annotations'], list): said[as_id(a['image_id'])].append(names[as_id(a['category_id'])])
    return [(f, the_one(said[k])) for k,f in files.items()]

def choices(answer):
    "The classes of one answer of Label Studio"
    if of_type(answer.get('was_cancelled') or False, bool): return []
    parts = [p['value'] for p in of_type(answer.get('result', []), list) if p.get('type')=='choices']
    return [name for value in parts for name in of_type(value['choices'], list)]

def of_labelstudio(tasks):
    "(picture, class) of each task"
    answers = [of_type(t.get('annotations') or [], list) for t in tasks]
    return [(t['data']['image'], the_one(name for a in some for name in choices(a))) for t,some in zip(tasks, answers)]

def of_fiftyone(d):
    "(picture, class) of each label"
    names = of_type(d['classes'] or [], list)
    def named(target):
        if target is None: return None
        numbered = type(target) is int and 0<=target<len(names)
        return the_one([names[target] if numbered else target])
    return [(said, named(target)) for said,target in d['labels'].items()]

def entries(name, data):
    "(picture, class) of each entry of a file of labels; an error of any type where it has to be refused"
    if name.endswith('.csv'): return of_csv(data)
    if name.endswith('.xml'): return of_cvat(data)
    d = json.loads(data, object_pairs_hook=keys_once)
    if isinstance(d, list): return of_labelstudio(d)
    return of_coco(d) if 'images' in d else of_fiftyone(d)

def meant(said):
    "Which picture a tool means: its name is the last part of a path, and what an upload puts before it does not count"
    url = urlsplit(of_type(said, str).replace('\\', '/'))
    path = parse_qs(url.query).get('d', [unquote(url.path)])[0]
    last = re.sub('^[0-9a-f]{8}-', '', path.rstrip('/').split('/')[-1])
    return next(f for f in CLASSES if last in (Path(f).name, Path(f).stem))

def as_written(data, rng):
    "The same file as other programs write it, or with something in it twice"
    text = data.decode()
    lines = text.splitlines(keepends=True)
    k = int(rng.integers(len(lines)))
    ways = ['\ufeff'+text, text.replace('\n', '\r\n'), text.replace(',', ';'), text.replace('face', 'Gesicht: ä'), ''.join(lines[:k]),
        ''.join(lines[:k+1]+lines[k:]), text.replace('face', 'hand'), text.replace('hand', ' hand '), text.replace('/', '\\'),
        text.replace('the face', 'the,face'), text.replace('two', 'one'), text.replace('"', "'"), text.replace('hand', '')]
    return ways[rng.integers(len(ways))].encode('latin-1' if rng.random()<.1 else 'utf-8', 'ignore')

class Labels(Kind):
    text = ('coco.json','fiftyone.json','labelstudio.json')
    def make(self, folder):
        from PIL import Image
        from tempo.labels import PictureLabel, write_labels
        files = {folder/f: name for f,name in CLASSES.items()}
        for k,f in enumerate(files):
            f.parent.mkdir(exist_ok=True)
            Image.fromarray(picture(k)).save(f)
        labels = [PictureLabel(f, name) for f,name in files.items()]
        for name,to in {'t.csv': 'csv', 'cvat.xml': 'cvat', 'coco.json': 'coco', 'labelstudio.json': 'labelstudio'}.items():
            write_labels(labels, folder/name, to)
        write_labels(labels, folder/'fifty', 'fiftyone')
        shutil.move(folder/'fifty/labels.json', folder/'fiftyone.json')
        (folder/'five.png').rename(folder/'_five.png')

    def damaged(self, original, rng, k):
        if rng.random()<.3: return 'rewritten', as_written(original.read_bytes(), rng)
        return super().damaged(original, rng, k)

    def placed(self, name, how, data):
        m = super().placed(name, how, data)
        for f in CLASSES:
            (self.work/f).parent.mkdir(exist_ok=True)
            (self.work/f).touch()
        return m

    def judge(self, m):
        from tempo.labels import read_labels
        labels, without = read_labels(m.path)
        try: want, rest = self.right(m)
        except Exception as e: raise Wrong(f'it is taken, and has to be refused: {type(e).__name__}: {e}') from e
        got = {l.path.relative_to(self.work).as_posix(): l.name for l in labels}
        if got!=want: raise Wrong(f'it gives {got}, and says {want}')
        if without!=rest: raise Wrong(f'{without} entries are said to have no class, and {rest} have none')

    def right(self, m):
        "Classes by picture, and how many entries have none"
        from tempo.labels import check_class
        all_of_it = entries(m.name, m.path.read_bytes())
        said = {(meant(f), check_class(name)) for f,name in all_of_it if name}
        return keys_once(sorted(said)), sum(not name for _,name in all_of_it)

# ---- archives

def files_of(folder):
    "{name: bytes} of the files below a folder"
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob('*')) if f.is_file()}

class Archive(Kind):
    def make(self, folder):
        write_zip(folder/'stored.zip', zipfile.ZIP_STORED)
        write_zip(folder/'deflated.zip', zipfile.ZIP_DEFLATED)
        for mode,ending in {'w:':'tar', 'w:gz':'tgz', 'w:bz2':'tbz', 'w:xz':'txz'}.items(): write_tar(folder/f'set.{ending}', mode)

    def judge(self, m):
        from tempo.datasets import unpack
        before, out = files_of(self.folder), self.work/'out'
        try: unpack(m.path, out)
        except REFUSALS:
            if files_of(self.folder)!=before: raise Wrong('a refusal left files')
            raise
        got = {name: data for name,data in files_of(out).items() if name!='.tempo.json'}
        shutil.rmtree(out)
        if files_of(self.folder)!=before: raise Wrong('it wrote outside of its folder')
        self.compare(m, got)

    def compare(self, m, got):
        "Refuse contents that are not those that were packed"
        plain, want = m.name=='set.tar', contents()
        if plain: got, want = ({name: len(data) for name,data in d.items()} for d in (got, want))
        if got.keys()!=want.keys(): raise Wrong(f'members {sorted(got.keys()^want.keys())} are missing or new')
        other = [name for name in want if got[name]!=want[name]]
        if other: raise Wrong(f'{other[0]} is another')

# ---- stores

class Store(Kind):
    def make(self, folder):
        (folder/'clips').mkdir()
        for name in ('a.avi','b.avi'): write_clip(folder/'clips'/name, *CLIPS['mpeg4.avi'], frames=12)

    def begin(self):
        shutil.rmtree(self.folder/'store', ignore_errors=True)
        self.whole = self.described(self.build(self.folder/'store'))
        files = [f for f in (self.folder/'store').rglob('*') if f.suffix in ('.json','.u8')]
        self.originals = sorted(files, key=lambda f: (f.suffix, f.name!='index.json', b'a.avi' in f.read_bytes()))
        self.text = tuple(f.name for f in files if f.suffix=='.json')
        self.names = ('a.avi', 'b.avi', *(f.stem for f in files))

    def build(self, path):
        from tempo.data import FrameStore
        return FrameStore.build(self.home/'clips', path, 16, label=r'(\w)\.avi', workers=0, progress=False)

    def described(self, store):
        "Frames and clips"
        return store[:].tobytes(), [vars(c) for c in store.clips]

    def mutant(self, k):
        m = super().mutant(k)
        return self.inside(m)

    def inside(self, m):
        "The damaged file within a copy of the store"
        store = self.work/'store'
        shutil.copytree(self.folder/'store', store)
        path = next(store.rglob(m.name))
        shutil.move(m.path, path)
        m.path, m.names = path, self.names
        return m

    def check_whole(self):
        for f in self.originals: self.judge(self.inside(self.placed(f.name, 'whole', f.read_bytes())))

    def judge(self, m):
        try: refused, taken = None, self.opened()
        except REFUSALS as e: refused = e
        self.mended()
        if refused: raise refused
        if taken!=self.whole: raise Wrong(difference(taken, self.whole))

    def opened(self):
        "What an opened store holds, verified where it can be"
        from tempo.data import FrameStore
        store = FrameStore.open(self.work/'store')
        if hasattr(store, 'verify'): store.verify()
        return self.described(store)

    def mended(self):
        "Build again: everything is right"
        try: again = self.described(self.build(self.work/'store'))
        except Exception as e: raise Unmended(f'building again ends with {type(e).__name__}: {e}') from e
        if again!=self.whole: raise Wrong('built again: '+difference(again, self.whole))

def difference(got, want):
    "What differs, in words"
    if got[0]!=want[0]: return 'other frames'
    return 'other clips: '+', '.join(f'{k}={v!r}' for a,b in zip(got[1], want[1]) for k,v in a.items() if v!=b.get(k))

KINDS = dict(video=Video, stills=Stills, coco=Coco, backbone=Backbone, checkpoint=Checkpoint, spans=Spans, archive=Archive, store=Store,
    labels=Labels)
SHARES = dict(video=6, stills=3, coco=4, backbone=3, checkpoint=2, spans=2, archive=3, store=2, labels=3)     # of `--n`

# ---- one mutant

def is_clear(e, m):
    "Whether an error is one line that names a file; what fastai puts before it does not count"
    text = re.sub(r'^Exception occured in `\w+` when calling event `\w+`:', '', str(e)).strip()
    return isinstance(e, REFUSALS) and '\n' not in text and any(name in text for name in m.names)

def verdict(kind, m):
    "(outcome, what is said) of a mutant"
    try:
        with warnings.catch_warnings(action='ignore'): kind.judge(m)
    except Wrong as e: return 'silent wrong', str(e)
    except Exception as e:
        if is_clear(e, m): return 'refused', str(e)
        return 'unnamed error', f'{type(e).__name__}: {e}'
    return 'right', ''

def limit_memory():
    "At most `MEMORY` bytes more than now"
    try: import resource
    except ImportError: return      # Windows
    pages = int(Path('/proc/self/statm').read_text().split()[0]) if Path('/proc/self/statm').exists() else 0
    if pages: resource.setrlimit(resource.RLIMIT_AS, (pages*resource.getpagesize()+MEMORY,)*2)

def silence():
    "Nothing that libraries print is seen"
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1,2): os.dup2(nowhere, stream)

def work(pipe, name, folder, seed):
    "In a process of its own: the mutants that are asked for"
    silence()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kind = KINDS[name](folder, seed)
    limit_memory()
    kind.check_whole()
    pipe.send('')
    for k in iter(pipe.recv, None):
        m = kind.mutant(k)
        pipe.send((m.name, m.how))
        pipe.send(verdict(kind, m))

def work_or_say(pipe, *args):
    "`work`; what goes wrong outside of what is tried is said"
    try: work(pipe, *args)
    except BaseException:
        pipe.send(traceback.format_exc())
        pipe.close()

Answer = namedtuple('Answer', 'original how outcome text')     # what was damaged, how, the outcome, and what is said

class Worker:
    "A process that judges mutants of one kind, started anew where it dies"
    def __init__(self, name, folder, seed):
        self.name, self.args = name, (name, folder/name, seed)
        self.process = None

    def start(self):
        "A fresh process, when it is ready"
        spawn = multiprocessing.get_context('spawn')
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=work_or_say, args=(theirs, *self.args), daemon=True)
        self.process.start()
        theirs.close()
        why = self.pipe.recv() if self.pipe.poll(10*LIMIT) else 'It is not ready.'
        if why: sys.exit(f'{self.name}: undamaged input is not read rightly, so nothing can be said of damaged input.\n{why}')

    def ask(self, k):
        "What was damaged, how, the outcome and what is said"
        if self.process is None: self.start()
        self.pipe.send(k)
        about = self.heard()
        if len(about)==1: sys.exit(f'{self.name}:{k} could not be made.\n{about[0]}')
        try: said = self.heard()
        except EOFError: return Answer(*about, 'crash', 'the process died' + self.stop(5))
        return Answer(*about, *(said or ('hang', f'no answer within {LIMIT} s' + self.stop())))

    def heard(self):
        "What the process says next; None where it takes too long"
        if not self.pipe.poll(LIMIT): return None
        said = self.pipe.recv()
        return (said,) if isinstance(said, str) else said

    def end(self):
        "End the process when it has nothing to do"
        if self.process is None: return
        self.pipe.send(None)
        self.stop(LIMIT)

    def stop(self, patience=0):
        "End the process, which has `patience` seconds to end by itself; how it ended, in words"
        self.process.join(patience)
        if self.process.is_alive(): self.process.kill()
        self.process.join()
        code, self.process = self.process.exitcode, None
        return f' (exit code {code})'

# ---- all of them

def shares(n, only):
    "{kind: mutants}"
    total = sum(SHARES[o] for o in only)
    return {o: max(1, round(n*SHARES[o]/total)) for o in only}

def saved(folder, keep, name, k):
    "Keep what is left of mutant `k`"
    if not keep: return
    where = keep/f'{name}_{k}'
    shutil.copytree(folder/name/'work', where, dirs_exist_ok=True)

def tried(name, n, folder, args):
    "Judge `n` mutants; their outcomes, and a line for each bad one"
    worker, counts = Worker(name, folder, args.seed), Counter()
    for k in range(n):
        said = worker.ask(k)
        counts[said.outcome] += 1
        if said.outcome not in BAD: continue
        again = f'python bench/fuzz.py --seed {args.seed} --one {name}:{k}'
        print(f'{said.outcome}: {again}   {said.original} {said.how}: {brief(said.text)}', flush=True)
        saved(folder, args.keep, name, k)
    worker.end()
    return counts

def brief(text):
    "The beginning of a text, on one line"
    return text.replace('\n', ' ⏎ ')[:200]

def one(args, folder):
    "Make one mutant again, and show all that is said of it"
    name,_,k = args.one.partition(':')
    worker = Worker(name, folder, args.seed)
    said = worker.ask(int(k))
    worker.end()
    print(f'{said.original} {said.how}: {said.outcome}\n{said.text}')
    saved(folder, args.keep or Path('.'), name, k)
    return said.outcome in BAD

def every(args, folder, only):
    "Judge all kinds; whether any mutant was taken badly"
    total = Counter()
    for name,n in shares(args.n, only).items():
        began = time.perf_counter()
        counts = tried(name, n, folder, args)
        row = dict(kind='fuzz', what=name, seed=args.seed, tried=n, **{o: counts[o] for o in OUTCOMES})
        row['seconds'] = round(time.perf_counter()-began, 1)
        if args.out: add_row(args.out, **row)
        print(' '.join(f'{k} {v}' for k,v in row.items() if k not in ('kind','seed')), flush=True)
        total += counts
    tail = ', '.join(f'{total[o]} {o}' for o in OUTCOMES)
    print(f'{total.total()} mutants: {tail}')
    return any(total[o] for o in BAD)

def main():
    p = parser(__doc__, n=2000, seed=0, only=','.join(KINDS), out='', one='')
    p.add_argument('--keep', type=Path, help='a folder for the mutants that are taken badly')
    args = p.parse_args()
    only = args.only.split(',')
    unknown = [o for o in only if o not in KINDS]
    if unknown: sys.exit(f"--only: {unknown[0]} is none of {', '.join(KINDS)}")
    if find_spec('hypothesis') is None: sys.exit("hypothesis is not installed: pip install 'tempo-video[dev]'")
    folder = Path(tempfile.mkdtemp(prefix='fuzz-'))
    try: return one(args, folder) if args.one else every(args, folder, only)
    finally: shutil.rmtree(folder, ignore_errors=True)

if __name__=='__main__': sys.exit(main())
