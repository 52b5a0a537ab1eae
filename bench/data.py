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
from common import Results, rounds, seconds
from tempo.data import FrameStore, fit_dims, write_shard
from tempo.sampling import PairDL, PairSampler
from tempo.synthetic import sign_clip, write_video

SIZE, BS, TAU = 128, 128, 30    # pixels a side, pairs a batch, largest distance of a pair (frames)

# ---- things to read from

def make_video(path, drawn, frames):
    "A GOP-250 video of `frames` frames of 256 px: `drawn` frames of signing, played to and fro"
    clip = sign_clip('TEMPO', frames=drawn, size=256, seed=0)[0]
    there_and_back = np.r_[np.arange(drawn), np.arange(drawn-2, 0, -1)]
    return write_video((clip[k] for k in np.resize(there_and_back, frames)), path, gop=250)

def write_pngs(video, folder, want):
    "Frames `want` of `video` as PNGs: of its own size in `folder`/png, of 128 px in `folder`/png128; their paths by frame number"
    from decord import VideoReader, cpu
    vr, files = VideoReader(str(video), ctx=cpu(0), num_threads=1), {'png':{}, 'png128':{}}
    vr.seek_accurate(want[0])
    for k in files: (folder/k).mkdir()
    for i in want:
        im = Image.fromarray(vr.next().asnumpy())
        for k,im in ('png',im), ('png128',im.resize(fit_dims(*im.size, SIZE), Image.BILINEAR)):
            files[k][i] = folder/k/f'{i:06d}.png'; im.save(files[k][i])
    return files

def sparse_store(path, frames, clip):
    "A store of `frames` black frames in clips of `clip` frames, a shard each, that takes no room on the disk"
    (path/'shards').mkdir(parents=True)
    shards, clips = [], []
    for k,lo in enumerate(range(0, frames, clip)):
        n = min(clip, frames-lo)
        with open(path/'shards'/f'{k:016x}.u8', 'wb') as f: f.truncate(n*SIZE*SIZE*3)
        shards.append((f'{k:016x}', n)); clips.append(dict(lo=lo, hi=lo+n, file=f'{k}.mp4', first=0, last=n-1, fps=30.))
    (path/'index.json').write_text(json.dumps(dict(settings=dict(size=SIZE, fps=None, fit='crop'), shards=shards, clips=clips)))
    return FrameStore.open(path)

# ---- pairs a second

class PerItem(torch.utils.data.Dataset):
    "What the thesis did for one item: two pictures from files, and the whole pdf for one draw"
    def __init__(self, files, n): self.files, self.n, self.tfm = files, n, T.Compose([T.Resize(SIZE), T.ToTensor()])
    def __len__(self): return self.n
    def __getitem__(self, i):
        a, b = Image.open(self.files[i]), Image.open(self.files[full_pdf_draw(i, self.n)])
        return self.tfm(a), self.tfm(b), torch.tensor(0)

def full_pdf_draw(i, n):
    "One partner of frame `i` from p(j|i) over all `n` frames"
    x = np.arange(n)
    p = ((x!=i)&(x>=i-TAU)&(x<=i+TAU)).astype(float)
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
        for a,b,_ in torch.utils.data.DataLoader(PerItem(files, n), batch_size=BS, sampler=some): pass
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
    frames = np.memmap(next((tmp/'store'/'shards').glob('*.u8')), np.uint8, 'r', shape=store.shape).view(np.ndarray)
    items = n//2 + np.arange(64 if quick else 256)      # frames that have PNGs, and neighbours on both sides
    pngs = write_pngs(video, tmp, range(items[0]-TAU, items[-1]+TAU+1))
    tempo = tempo_pairs(dl, 3)
    got = rounds(dict(tempo=tempo, tempo_float=tempo_pairs(dl, 1, True), decord=decord_pairs(video, dims, pairs, 2 if quick else 8, rng),
                      **{f: png_pairs(pngs[f], n, items, 16 if quick else BS, rng) for f in pngs}), 5 if quick else 9)
    fast = rounds(dict(tempo=tempo, numpy=numpy_pairs(frames, [*pairs.reshape(-1,BS,2)]*3)), 9 if quick else 15)    # alone: both are quick
    def add(what, got, who, name, **kw): res.add(what, 'pairs/s', got[who], got[name], name, got[who]/got[name], bs=BS, frames=n, **kw)
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
    got = rounds(dict(tempo=shard,
                      decord=lambda: n/seconds(decord_loop, video, dims)), 5 if quick else 9)
    res.add('building', 'frames/s', got['tempo'], got['decord'], 'decord', got['tempo']/got['decord'], least=.8, frames=n, threads=1)

# ---- memory

def anon_mb():
    "Resident memory of this process that is not page cache (MB)"
    return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])*1024/1e6

def iterate(path, batches):
    "In a process of its own: memory before the store is opened, and the most during `batches` batches"
    before, most = anon_mb(), 0
    store = FrameStore.open(path)
    for k,b in enumerate(PairDL(store, PairSampler(store.bounds, 'uniform', TAU), BS, num_workers=0, device='cpu')):
        most = max(most, anon_mb())
        if k+1==batches: break
    print(json.dumps(dict(before=before, most=most)))

def bench_memory(res, tmp, quick):
    "A large store, a process that trains on nothing else"
    n, batches = 200_000, 4 if quick else 300
    sparse_store(tmp/'large', n, 5000)
    run = lambda: json.loads(subprocess.run([sys.executable, __file__, '--iterate', str(tmp/'large'), str(batches)], check=True, capture_output=True, text=True).stdout)
    got = [run() for _ in range(1 if quick else 3)]
    most, grown = (np.array([f(g) for g in got]) for f in (lambda g: g['most'], lambda g: g['most']-g['before']))
    res.add('memory, whole process', 'MB', most, np.full(1, 1000.), 'limit', most/1000, most=1, frames=n, batches=batches, bs=BS)
    res.add('memory, since the imports', 'MB', grown, np.full(1, n*SIZE*SIZE*3/1e6), 'all frames', grown/(n*SIZE*SIZE*3/1e6), frames=n, batches=batches, bs=BS)

# ---- growth

def pair_cost(store, passes, batches=2, pairs=4096):
    "Microseconds a pair: drawing it, as a part of a whole epoch; fetching it; and `np.stack` of the same frames, found beforehand"
    s = PairSampler(store.bounds, 'uniform', TAU)
    dl = PairDL(store, s, BS, n=batches*BS, device='cpu')
    some, epochs = s.epoch(0, batches*BS).reshape(batches,BS,2), -(-pairs//len(s))
    found = [[[store[int(i)] for i in k] for k in p.T] for p in some]
    def drawing():
        for e in range(epochs): s.epoch(e)
    def fetching():
        for p in some: b = dl.fetch(p)
    def stacking():
        for i,j in found: a,b = np.stack(i),np.stack(j)
    def run():
        both = np.array([[seconds(fetching), seconds(stacking)] for _ in range(passes)])
        return (seconds(drawing)/(epochs*len(s))*1e6, *np.median(both, 0)/(batches*BS)*1e6)
    return run

def pdf_cost(n, draws=5):
    "Microseconds a pair of drawing from a pdf over all frames"
    return lambda: seconds(lambda: [full_pdf_draw(i, n) for i in np.linspace(0, n-1, draws).astype(int).tolist()])/draws*1e6

def bench_growth(res, tmp, quick):
    """Stores of 10^3 to 10^6 frames in clips of 1,000. Equally many frames are read in each: what grows is the store, not the part of
    it that is in use. Memory that is spread wider costs every reader more; how much, copying the same frames shows beside it."""
    sizes = [10**k for k in range(3,7)]
    stores = {n: sparse_store(tmp/f'sparse{n}', n, 1000) for n in sizes}
    got = rounds({f'{k}{n}': f for n,s in stores.items() for k,f in (('tempo', pair_cost(s, 5 if quick else 16)), ('pdf', pdf_cost(n)))}, 7 if quick else 11)
    total, bare = ({n: got[f'tempo{n}'][:,cols].sum(1) for n in sizes} for cols in ([0,1], [2]))
    few, many = sizes[0], sizes[-1]
    for n in sizes:
        draw, fetch, copy = np.median(got[f'tempo{n}'], 0)
        res.add(f'a pair, {n:,} frames', 'µs', total[n], bare[n], 'np.stack', total[n]/bare[n], frames=n, draw_us=round(draw,3), fetch_us=round(fetch,3), copy_us=round(copy,3))
    res.add(f'a pair, {few:,} to {many:,}', 'µs', total[many], total[few], f'at {few:,}', total[many]/total[few], frames=many)
    res.add('same, beside np.stack', 'x', total[many]/total[few], bare[many]/bare[few], 'np.stack', total[many]/total[few]/(bare[many]/bare[few]), most=1.1, frames=many)
    for n in sizes:
        d = got[f'tempo{n}'][:,0]
        res.add(f'drawing it, {n:,} frames', 'µs', d, got[f'pdf{n}'], 'full pdf', got[f'pdf{n}']/d, frames=n)

# ---- all of it

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--video', type=Path, help='a video of a few thousand frames; without it, one is made')
    p.add_argument('--quick', action='store_true', help='fewer frames and rounds')
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    p.add_argument('--iterate', nargs=2, help=argparse.SUPPRESS)
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.iterate: return iterate(a.iterate[0], int(a.iterate[1]))
    with tempfile.TemporaryDirectory() as tmp: run(a.video, a.quick, a.out, Path(tmp))

def run(video, quick, out, tmp):
    "All benchmarks on one video"
    from decord import VideoReader, cpu
    t = time.perf_counter()
    def stage(name): print(f'{time.perf_counter()-t:5.0f} s  {name}', flush=True)
    if video is None: stage('video'); video = make_video(tmp/'synthetic.mp4', *((100,750) if quick else (600,3000)))
    vr = VideoReader(str(video), ctx=cpu(0), num_threads=1)
    n, (h,w,_), keys = len(vr), vr[0].shape, len(vr.get_key_indices()); del vr
    res, dims = Results(out, 'data', video=video.name, pixels=f'{w}x{h}', video_frames=n, key_frames=keys, size=SIZE, quick=quick, load=round(os.getloadavg()[0],1)), fit_dims(w, h, SIZE)
    stage('pairs a second'); bench_pairs(res, video, dims, tmp, quick)
    stage('building'); bench_build(res, video, dims, n, tmp, quick)
    stage('memory'); bench_memory(res, tmp, quick)
    stage('growth'); bench_growth(res, tmp, quick)
    stage('done'); res.show()

if __name__=='__main__': main()
