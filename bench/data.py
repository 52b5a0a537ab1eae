"""How fast frame pairs come, how fast stores are built, and what both cost in memory: Tempo beside what people do without
it.

    python bench/data.py [--video PATH] [--quick] [--out ROWS.jsonl]

Everything is timed in one run, in rounds: each round times every contender once, in a new order, and gives one ratio.
What is reported is the median ratio and its smallest and largest value. One thread each, no worker processes, files in
the page cache.

The contenders for pairs a second, at 128 px, from the same video:

- `tempo`: `PairDL` over a `FrameStore`, from drawing an epoch's pairs to batches of uint8 tensors, as `train_tempo`
  uses it.
- `tempo_float`: the same, and both views turned into float32 in [0,1] here. Tempo leaves that to the training device;
  the per-item loaders below cannot, so this is what is left of the lead on a machine without one. No target.
- `numpy`: `frames[i]` and `frames[j]` of one memmap of the same frames, for index arrays drawn beforehand. Nothing in
  Python that copies pairs can be much faster.
- `png`: the thesis's loader, written again: every frame a PNG of the video's own size; for each item open one, build
  p(j|i) over *all* frames of the clip, draw j with `np.random.choice`, open the other, `Resize(128)`, `ToTensor`; a
  torch `DataLoader` collates.
- `png128`: the same with PNGs that have 128 px already. No target: kinder than the thesis was to itself.
- `decord`: a decord reader that scales to 128 px and is asked for the two frames of a pair, wherever they are in the
  file.

Building: `write_shard` (decode, cut, write to disk, rename) beside a bare loop of decord's `next()`, opening included
in both. Memory and growth use stores of sparse files: as large as they say to every reader, all zero, and no room taken
on the disk.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import argparse, json, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
from torchvision import transforms as T
from common import Results, parser, rounds, seconds
from tempo.data import FrameStore, write_shard
from tempo.pictures import fit_dims
from tempo.sampling import PairDL, PairSampler
from tempo.synthetic import sign_clip, write_video

SIZE = 128   # pixels a side
BS = 128     # pairs a batch
TAU = 30     # largest distance of a pair (frames)

# ---- things to read from

def make_video(path, drawn, frames):
    "A GOP-250 video of `frames` frames of 256 px: `drawn` frames of signing, played to and fro"
    clip = sign_clip('TEMPO', frames=drawn, size=256, seed=0)[0]
    there_and_back = np.r_[np.arange(drawn), np.arange(drawn-2, 0, -1)]
    return write_video((clip[k] for k in np.resize(there_and_back, frames)), path, gop=250)

def write_pngs(video, folder, want):
    "Frames `want` of `video` as PNGs: of its own size in `folder`/png, of 128 px in `folder`/png128; their paths by frame number"
    from decord import VideoReader, cpu
    vr = VideoReader(str(video), ctx=cpu(0), num_threads=1)
    vr.seek_accurate(want[0])
    files = {'png': {}, 'png128': {}}
    for kind in files: (folder/kind).mkdir()
    for i in want:
        own = Image.fromarray(vr.next().asnumpy())
        small = own.resize(fit_dims(*own.size, SIZE), Image.BILINEAR)
        for kind,picture in (('png',own), ('png128',small)):
            files[kind][i] = folder/kind/f'{i:06d}.png'
            picture.save(files[kind][i])
    return files

def sparse_store(path, frames, clip):
    "A store of `frames` black frames in clips of `clip` frames, a shard each, that takes no room on the disk"
    (path/'shards').mkdir(parents=True)
    shards, clips = [], []
    for k,lo in enumerate(range(0, frames, clip)):
        n = min(clip, frames-lo)
        with open(path/'shards'/f'{k:016x}.u8', 'wb') as f: f.truncate(n*SIZE*SIZE*3)
        shards.append((f'{k:016x}', n))
        clips.append(dict(lo=lo, hi=lo+n, file=f'{k}.mp4', first=0, last=n-1, fps=30.))
    index = dict(settings=dict(size=SIZE, fps=None, fit='crop'), shards=shards, clips=clips)
    (path/'index.json').write_text(json.dumps(index))
    return FrameStore.open(path)

# ---- pairs a second

class PerItem(torch.utils.data.Dataset):
    "What the thesis did for one item: two pictures from files, and the whole pdf for one draw"
    def __init__(self, files, n):
        self.files, self.n = files, n
        self.tfm = T.Compose([T.Resize(SIZE), T.ToTensor()])
    def __len__(self): return self.n
    def __getitem__(self, i):
        j = full_pdf_draw(i, self.n)
        first, second = (self.tfm(Image.open(self.files[k])) for k in (i,j))
        return first, second, torch.tensor(0)

def full_pdf_draw(i, n):
    "One partner of frame `i` from p(j|i) over all `n` frames"
    x = np.arange(n)
    near = abs(x-i)<=TAU
    p = (near&(x!=i)).astype(float)
    return np.random.choice(x, p=p/p.sum())

def tempo_pairs(dl, epochs, as_float=False):
    "Pairs a second of a `PairDL`"
    def run():
        for _ in range(epochs):
            for a,b,d in dl:
                if as_float: a,b = a.float().div_(255), b.float().div_(255)
    return lambda: epochs*len(dl)*BS/seconds(run)

def numpy_pairs(frames, pairs):
    "Pairs a second of bare fancy indexing"
    def run():
        for p in pairs: a,b = frames[p[:,0]], frames[p[:,1]]
    return lambda: len(pairs)*BS/seconds(run)

def png_pairs(files, n, items, count, rng):
    "Pairs a second of the per-item loader, for `count` of the frames `items`"
    def run(some):
        loader = torch.utils.data.DataLoader(PerItem(files, n), batch_size=BS, sampler=some)
        for a,b,_ in loader: pass
    return lambda: count/seconds(run, rng.choice(items, count).tolist())

def decord_pairs(video, dims, pairs, count, rng):
    "Pairs a second of random reads, each of `count` pairs by itself"
    from decord import VideoReader, cpu
    vr = VideoReader(str(video), ctx=cpu(0), width=dims[0], height=dims[1], num_threads=1)
    def run(some):
        for p in some: vr.get_batch(p.tolist()).asnumpy()
    def rate():
        s = seconds(run, rng.permutation(pairs)[:count])
        time.sleep(.2)      # its threads go on for a while: who comes next should not pay for that
        return count/s
    return rate

def bench_pairs(res, video, dims, tmp, quick):
    "Everybody's pairs a second"
    store = FrameStore.build(video, tmp/'store', SIZE, workers=0, progress=False)
    rng, n, batches = np.random.default_rng(0), len(store), 24
    sampler = PairSampler(store.bounds, 'uniform', TAU)
    pairs = sampler.epoch(0, batches*BS)
    dl = PairDL(store, sampler, BS, n=batches*BS, num_workers=0, device='cpu')
    shard = next((tmp/'store'/'shards').glob('*.u8'))
    frames = np.memmap(shard, np.uint8, 'r', shape=store.shape).view(np.ndarray)
    items = n//2 + np.arange(64 if quick else 256)      # frames that have PNGs, and neighbours on both sides
    pngs = write_pngs(video, tmp, range(items[0]-TAU, items[-1]+TAU+1))
    tempo = tempo_pairs(dl, 3)
    slow = dict(tempo=tempo, tempo_float=tempo_pairs(dl, 1, True),
        decord=decord_pairs(video, dims, pairs, 2 if quick else 8, rng))
    for kind,files in pngs.items(): slow[kind] = png_pairs(files, n, items, 16 if quick else BS, rng)
    got = rounds(slow, 5 if quick else 9)
    quick_two = dict(tempo=tempo, numpy=numpy_pairs(frames, [*pairs.reshape(-1,BS,2)]*3))
    fast = rounds(quick_two, 9 if quick else 15)        # alone: both are quick
    def add(what, got, who, name, **kw):
        res.add(what, 'pairs/s', got[who], got[name], name, got[who]/got[name],
            bs=BS, frames=n, **kw)
    add('pairs', got, 'tempo', 'png', least=100)
    add('pairs', got, 'tempo', 'decord', least=20)
    add('pairs', fast, 'tempo', 'numpy', least=.5)
    add('pairs, small PNGs', got, 'tempo', 'png128')
    add('pairs, as float32', got, 'tempo_float', 'png')

# ---- building

def decord_loop(video, dims):
    "Every frame of `video`, scaled, and nothing done with it"
    from decord import VideoReader, cpu
    vr = VideoReader(str(video), ctx=cpu(0), width=dims[0], height=dims[1], num_threads=1)
    for _ in range(len(vr)): vr.next()

def bench_build(res, video, dims, n, tmp, quick):
    "Frames a second of decoding into a store, beside decoding alone"
    def shard():
        s = seconds(lambda: write_shard(video, tmp/'shard', size=SIZE, threads=1))
        for f in tmp.glob('shard.*'): f.unlink()        # nobody's build overwrites: shards are named after their content
        return n/s
    bare = lambda: n/seconds(decord_loop, video, dims)
    got = rounds(dict(tempo=shard, decord=bare), 5 if quick else 9)
    res.add('building', 'frames/s', got['tempo'], got['decord'], 'decord',
        got['tempo']/got['decord'],
        least=.8, frames=n, threads=1)

# ---- memory

def anon_mb():
    "Resident memory of this process that is not page cache (MB)"
    lines = Path('/proc/self/status').read_text().splitlines()
    line = next(l for l in lines if l.startswith('RssAnon'))
    return int(line.split()[1])*1024/1e6

def iterate(path, batches):
    "In a process of its own: memory before the store is opened, and the most during `batches` batches"
    before, most = anon_mb(), 0
    store = FrameStore.open(path)
    dl = PairDL(store, PairSampler(store.bounds, 'uniform', TAU), BS, num_workers=0, device='cpu')
    for k,_ in enumerate(dl):
        most = max(most, anon_mb())
        if k+1==batches: break
    print(json.dumps(dict(before=before, most=most)))

def bench_memory(res, tmp, quick):
    "A large store, a process that trains on nothing else"
    n, batches = 200_000, 4 if quick else 300
    sparse_store(tmp/'large', n, 5000)
    cmd = [sys.executable, __file__, '--iterate', str(tmp/'large'), str(batches)]
    run = lambda: json.loads(subprocess.run(cmd, check=True, capture_output=True, text=True).stdout)
    got = [run() for _ in range(1 if quick else 3)]
    most = np.array([g['most'] for g in got])
    grown = np.array([g['most']-g['before'] for g in got])
    frames = n*SIZE*SIZE*3/1e6
    said = dict(frames=n, batches=batches, bs=BS)
    res.add('memory, whole process', 'MB', most, np.full(1, 1000.), 'limit', most/1000, most=1,
        **said)
    res.add('memory, since the imports', 'MB', grown, np.full(1, frames), 'all frames', grown/frames, **said)

# ---- growth

def pair_cost(store, passes, batches=2, pairs=4096):
    "Microseconds a pair: drawing it, as a part of a whole epoch; fetching it; and `np.stack` of the same frames, found beforehand"
    s = PairSampler(store.bounds, 'uniform', TAU)
    dl = PairDL(store, s, BS, n=batches*BS, device='cpu')
    some, epochs = s.epoch(0, batches*BS).reshape(batches,BS,2), -(-pairs//len(s))
    frames_of = lambda numbers: [store[int(i)] for i in numbers]
    found = [[frames_of(numbers) for numbers in batch.T] for batch in some]
    def drawing():
        for e in range(epochs): s.epoch(e)
    def fetching():
        for batch in some: fetched = dl.fetch(batch)
    def stacking():
        for first,second in found: stacked = np.stack(first), np.stack(second)
    def run():
        both = np.array([[seconds(fetching), seconds(stacking)] for _ in range(passes)])
        drawn = seconds(drawing)/(epochs*len(s))
        return (drawn*1e6, *np.median(both, 0)/(batches*BS)*1e6)
    return run

def pdf_cost(n, draws=5):
    "Microseconds a pair of drawing from a pdf over all frames"
    frames = np.linspace(0, n-1, draws).astype(int).tolist()
    def drawing():
        for i in frames: full_pdf_draw(i, n)
    return lambda: seconds(drawing)/draws*1e6

def bench_growth(res, tmp, quick):
    """Stores of 10^3 to 10^6 frames in clips of 1,000. Equally many frames are read in each: what grows is the store, not the part of
    it that is in use. Memory that is spread wider costs every reader more; how much, copying the same frames shows beside it."""
    sizes = [10**k for k in range(3,7)]
    costs = {}
    for n in sizes:
        costs[f'tempo{n}'] = pair_cost(sparse_store(tmp/f'sparse{n}', n, 1000), 5 if quick else 16)
        costs[f'pdf{n}'] = pdf_cost(n)
    got = rounds(costs, 7 if quick else 11)
    total = {n: got[f'tempo{n}'][:,:2].sum(1) for n in sizes}
    bare = {n: got[f'tempo{n}'][:,2] for n in sizes}
    few, many = sizes[0], sizes[-1]
    for n in sizes:
        draw, fetch, copy = np.median(got[f'tempo{n}'], 0).round(3)
        parts = dict(draw_us=draw, fetch_us=fetch, copy_us=copy)
        res.add(f'a pair, {n:,} frames', 'µs', total[n], bare[n], 'np.stack',
            total[n]/bare[n],
            frames=n, **parts)
    grown, grown_bare = total[many]/total[few], bare[many]/bare[few]
    res.add(f'a pair, {few:,} to {many:,}', 'µs', total[many],
        total[few], f'at {few:,}',
        grown, frames=many)
    res.add('same, beside np.stack', 'x', grown, grown_bare, 'np.stack', grown/grown_bare, most=1.1, frames=many)
    for n in sizes:
        drawn, pdf = got[f'tempo{n}'][:,0], got[f'pdf{n}']
        res.add(f'drawing it, {n:,} frames', 'µs', drawn, pdf, 'full pdf', pdf/drawn, frames=n)

# ---- all of it

def facts(video):
    "Frames, width, height and key frames of a video"
    from decord import VideoReader, cpu
    vr = VideoReader(str(video), ctx=cpu(0), num_threads=1)
    h, w, _ = vr[0].shape
    return dict(video=video.name, pixels=f'{w}x{h}',
        video_frames=len(vr),
        key_frames=len(vr.get_key_indices())), fit_dims(w, h, SIZE)

def run(video, quick, out, tmp):
    "All benchmarks on one video"
    began = time.perf_counter()
    def stage(name): print(f'{time.perf_counter()-began:5.0f} s  {name}', flush=True)
    if video is None:
        stage('video')
        video = make_video(tmp/'synthetic.mp4', *((100,750) if quick else (600,3000)))
    said, dims = facts(video)
    res = Results(out, 'data', **said, size=SIZE, quick=quick,
        load=round(os.getloadavg()[0],1))
    stage('pairs a second')
    bench_pairs(res, video, dims, tmp, quick)
    stage('building')
    bench_build(res, video, dims, said['video_frames'], tmp, quick)
    stage('memory')
    bench_memory(res, tmp, quick)
    stage('growth')
    bench_growth(res, tmp, quick)
    stage('done')
    res.show()

def main():
    p = parser(__doc__)
    p.add_argument('--video', type=Path, help='a video of a few thousand frames; without it, one is made')
    p.add_argument('--quick', action='store_true', help='fewer frames and rounds')
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    p.add_argument('--iterate', nargs=2, help=argparse.SUPPRESS)
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.iterate: return iterate(a.iterate[0], int(a.iterate[1]))
    with tempfile.TemporaryDirectory() as tmp: run(a.video, a.quick, a.out, Path(tmp))

if __name__=='__main__': main()
