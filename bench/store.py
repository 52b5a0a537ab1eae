"""What a store of frames takes, and how fast single frames come out of it: raw bytes and JPEG pictures beside each other, beside
the video itself, and beside other ways to decode a picture.

    python bench/store.py [--video PATH] [--quick] [--only size,frames,threads,pairs,memory] [--out ROWS.jsonl]

Everything is timed in one run, in rounds: each round times every contender once, in a new order, and gives one ratio.
What is reported is the median ratio and its smallest and largest value. Files lie in the page cache; batches are 128
frames at random places of one video, decoded at the sizes that training uses. Frames a second and core are frames a
second of processor time, in one thread each: what else runs on the machine takes time from all of them, and does not
count. `threads` and `pairs` are by the clock.

- `jpeg`: `store[i]` of a store of JPEG pictures, quality 90, in one thread.
- `raw`: the same of a store of raw frames.
- `decord`: a decord reader that scales to that size and is asked for single frames, wherever they are in the file.
- `torchcodec`: the same with torchcodec's decoder, which gives frames of the video's own size (where it is installed).
- `torchvision`, `pillow`, `cv2`: the pictures of the store, decoded by another binding (`cv2` where it is installed).
- `webp`: the same frames as WebP of quality 90, decoded by Pillow, as stable-pretraining keeps its frames; `lance`: the same
  out of a Lance data set (where it is installed).

Memory: a video of 200,000 small frames becomes a store; ten million frames of sparse files are sampled; a store of 5,000
clips is opened and every one of them read. Each in a process of its own.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')     # before torch: waiting threads must not take the other core
import argparse, importlib.util, io, json, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
from common import Results, parser, rounds, seconds
from data import anon_mb, make_video, sparse_store
from tempo import codecs
from tempo.data import FrameStore, write_shard
from tempo.sampling import PairDL, PairSampler
from tempo.synthetic import sign_clip, write_video

BATCH = 128     # frames
PARTS = 'size', 'frames', 'threads', 'pairs', 'memory'
GOALS = {128: 7000, 224: 2500}      # JPEG frames a second and core
SMALLER = {128: 12}                 # times smaller than raw

def stores_of(video, px, tmp):
    "A store of each codec"
    raw = FrameStore.build(video, tmp/f'raw{px}', px, codec='raw', workers=0, progress=False)
    return dict(raw=raw, jpeg=raw.convert(tmp/f'jpeg{px}', 'jpeg', progress=False))

# ---- bytes

def bench_size(res, stores, video):
    "Bytes a frame, beside raw and beside the video"
    for px,s in stores.items():
        raw, jpeg = s['raw'].nbytes, s['jpeg'].nbytes
        mb = lambda n: np.full(1, n/1e6)
        off = np.abs(s['raw'][:256]-s['jpeg'][:256].astype(float)).mean()
        about = dict(size=px, frames=len(s['raw']), off=round(float(off), 2))
        res.add(f'bytes, {px} px', 'MB', mb(jpeg), mb(raw), 'raw', raw/jpeg, least=SMALLER.get(px), **about)
        res.add(f'bytes beside the video, {px} px', 'MB', mb(jpeg), mb(video.stat().st_size), 'video', jpeg/video.stat().st_size, **about)

# ---- frames a second

def some_frames(n, batches, rng):
    "Batches of random frames"
    return [rng.integers(0, n, BATCH) for _ in range(batches)]

def core_seconds(f):
    "How much time of a processor one call takes"
    t = time.process_time()
    f()
    return time.process_time()-t

def rate_of(read, n, batches, rng, clock=core_seconds):
    "Frames a second of a function of a batch of numbers"
    def reading():
        for i in some_frames(n, batches, rng): read(i)
    return lambda: batches*BATCH/clock(reading)

def decord_reader(video, px, count, rng):
    "Single frames of the video; `count` of a batch, as it takes long"
    from decord import VideoReader, cpu
    from tempo.pictures import fit_dims
    reader = VideoReader(str(video), ctx=cpu(0), num_threads=1)
    h, w, _ = reader[0].shape
    w, h = fit_dims(w, h, px)
    reader = VideoReader(str(video), ctx=cpu(0), width=w, height=h, num_threads=1)
    def reading():
        for k in rng.integers(0, len(reader), count): reader[int(k)].asnumpy()
        time.sleep(.2)      # its threads go on for a while: who comes next should not pay for that
    return lambda: count/core_seconds(reading)

def torchcodec_reader(video, count, rng):
    "Single frames of the video by torchcodec"
    from torchcodec.decoders import VideoDecoder
    reader = VideoDecoder(str(video), num_ffmpeg_threads=1)
    def reading():
        for k in rng.integers(0, len(reader), count): reader[int(k)]
    return lambda: count/core_seconds(reading)

def video_readers(video, px, count, rng):
    "Frames a second out of the video itself, by whom there is"
    found = dict(decord=decord_reader(video, px, count, rng))
    if importlib.util.find_spec('torchcodec') is None: return found
    try: found['torchcodec'] = torchcodec_reader(video, count, rng)
    except Exception as e: print('torchcodec is left out:', str(e).splitlines()[0])
    return found

def pictures_of(store):
    "The JPEG pictures of a store, as bytes"
    shards = [store._shards[s] for s in range(len(store.index['shards']))]
    return [bytes(shard.picture(k)) for shard in shards for k in range(len(shard.places)-1)]

def other_bindings(jpegs):
    "Functions that decode a batch of JPEG pictures by other bindings"
    from torchvision.io import decode_jpeg
    tensor = lambda data: torch.frombuffer(bytearray(data), dtype=torch.uint8)
    found = dict(torchvision=lambda i: [decode_jpeg(tensor(jpegs[k])) for k in i],
                 pillow=lambda i: [np.asarray(Image.open(io.BytesIO(jpegs[k]))) for k in i])
    if importlib.util.find_spec('cv2'):
        import cv2
        cv2.setNumThreads(1)
        found['cv2'] = lambda i: [cv2.imdecode(np.frombuffer(jpegs[k], np.uint8), cv2.IMREAD_COLOR_RGB) for k in i]
    return found

def as_webp(frame):
    "A frame as WebP of quality 90"
    f = io.BytesIO()
    Image.fromarray(frame).save(f, 'WEBP', quality=90)
    return f.getvalue()

def webp_readers(frames, tmp):
    "Functions that decode a batch of frames kept as WebP, from memory and from a Lance data set; and bytes a frame"
    kept = [as_webp(f) for f in frames]
    decoded = lambda data: np.asarray(Image.open(io.BytesIO(data)))
    found = dict(webp=lambda i: [decoded(kept[k]) for k in i])
    if importlib.util.find_spec('lance'):
        import lance, pyarrow
        held = lance.write_dataset(pyarrow.table(dict(picture=kept)), str(tmp/'lance'), mode='overwrite')
        rows = lambda i: held.take(np.unique(i).tolist(), columns=['picture'])['picture']
        found['lance'] = lambda i: [decoded(data.as_py()) for data in rows(i)]
    return found, sum(map(len, kept))/len(kept)

def bench_frames(res, px, s, video, tmp, quick):
    "Frames a second of everybody, in one thread"
    rng, n = np.random.default_rng(0), len(s['raw'])
    first = s['raw'][:400]
    webp, webp_bytes = webp_readers(first, tmp)
    batches = 2 if quick else 8
    contenders = {name: rate_of(store.__getitem__, n, batches, rng) for name,store in s.items()}
    contenders |= {name: rate_of(f, n, 1, rng) for name,f in other_bindings(pictures_of(s['jpeg'])).items()}
    contenders |= {name: rate_of(f, len(first), 1, rng) for name,f in webp.items()}
    contenders |= video_readers(video, px, 4 if quick else 12, rng)
    got = rounds(contenders, 3 if quick else 9)
    goal = GOALS[px]
    res.add(f'frames, {px} px', 'frames/s', got['jpeg'], np.full(1, goal), 'goal', got['jpeg']/goal, least=1, size=px)
    for name in contenders:
        if name=='jpeg': continue
        more = dict(bytes_a_frame=round(webp_bytes)) if name in webp else {}
        res.add(f'frames, {px} px', 'frames/s', got['jpeg'], got[name], name, got['jpeg']/got[name], size=px, **more)

def bench_threads(res, px, s, cores, quick):
    "Frames a second with a thread for each core, beside one"
    rng, n = np.random.default_rng(0), len(s['raw'])
    def with_threads(k):
        rate = rate_of(s['jpeg'].__getitem__, n, 2 if quick else 16, rng, seconds)
        def run():
            codecs._threads.n, before = k, codecs._threads.n
            try: return rate()
            finally: codecs._threads.n = before
        return run
    got = rounds(dict(all=with_threads(cores), one=with_threads(1)), 3 if quick else 9)
    res.add(f'frames, all cores, {px} px', 'frames/s', got['all'], got['one'], 'one core', got['all']/got['one'], size=px, cores=cores)

def bench_pairs(res, px, s, quick):
    "Pairs a second of the loader that training uses"
    n = (2 if quick else 12)*BATCH
    dls = {name: PairDL(store, PairSampler(store.bounds, 'uniform', 30), BATCH, n=n, num_workers=0, device='cpu') for name,store in s.items()}
    def rate(dl): return lambda: n/seconds(lambda: [None for _ in dl])
    got = rounds({name: rate(dl) for name,dl in dls.items()}, 3 if quick else 9)
    res.add(f'pairs, {px} px', 'pairs/s', got['jpeg'], got['raw'], 'raw', got['jpeg']/got['raw'], size=px, bs=BATCH)

# ---- memory and handles

def long_video(path, frames, px=64, once=2000):
    "A video of `frames` small frames: `once` are encoded, and their packets are written again and again"
    import av
    drawn = sign_clip('TEMPO', frames=400, size=px, seed=0)[0]
    there_and_back = np.r_[np.arange(400), np.arange(398, 0, -1)]
    short = write_video((drawn[k] for k in np.resize(there_and_back, once)), path.with_name('short.mp4'), gop=50)
    with av.open(str(short)) as src, av.open(str(path), 'w') as dst:
        stream = src.streams.video[0]
        out = dst.add_stream_from_template(stream)
        packets = [(bytes(p), p) for p in src.demux(stream) if p.dts is not None]
        for r in range(frames//once):
            for data,p in packets: dst.mux(again(data, p, r*once*p.duration, out))
    return path

def again(data, p, later, stream):
    "A packet once more, some time later"
    import av
    q = av.Packet(data)
    q.pts, q.dts, q.duration = p.pts+later, p.dts+later, p.duration
    q.time_base, q.is_keyframe, q.stream = p.time_base, p.is_keyframe, stream
    return q

def grown_building(video, codec, frames):
    "In a process of its own: memory when half of the frames were written, and at the end (MB)"
    half = []
    def report(n):
        if n>=frames//2 and not half: half.append(anon_mb())
    with tempfile.TemporaryDirectory() as tmp: write_shard(video, f'{tmp}/shard', size=32, threads=1, codec=codec, report=report)
    return dict(before=half[0], after=anon_mb())

def peak_mb():
    "The most resident memory that this process has had (MB)"
    lines = Path('/proc/self/status').read_text().splitlines()
    line = next(l for l in lines if l.startswith('VmHWM'))
    return int(line.split()[1])*1024/1e6

def grown_sampling(frames, pairs):
    "In a process of its own: memory before and the most after drawing, and seconds an epoch"
    edges = np.linspace(0, frames, 2001).astype(int)
    bounds = np.stack([edges[:-1], edges[1:]], 1)
    Path('/proc/self/clear_refs').write_text('5')           # the peak counts from here on
    before = peak_mb()
    sampler = PairSampler(bounds, 'uniform', 30)
    took = [seconds(sampler.epoch, e, pairs) for e in range(3)]
    return dict(before=before, after=peak_mb(), seconds=float(np.median(took)))

def opening(path):
    "In a process of its own: seconds to open a store, and the descriptors that it holds when every clip was read"
    count = lambda: len(os.listdir('/proc/self/fd'))
    before = count()
    took = [seconds(FrameStore.open, path) for _ in range(5)]
    store = FrameStore.open(path)
    read = store[store.bounds[:,0]]
    return dict(seconds=float(np.median(took)), handles=count()-before)

def apart(what, *args):
    "What one of these functions returns, called in a process of its own"
    cmd = [sys.executable, '-W', 'ignore', __file__, '--apart', json.dumps([what, *map(str, args)])]
    return json.loads(subprocess.run(cmd, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

APART = dict(build=lambda video,codec,n: grown_building(video, codec, int(n)), sample=lambda n,pairs: grown_sampling(int(n), int(pairs)), open=opening)

def limited(res, what, unit, value, limit, name='limit', **about):
    "A row for one figure that has a limit, or none"
    one = lambda x: np.full(1, float(x))
    if limit is None: return res.add(what, unit, one(value), None, 'no limit', np.full(1, 1.), **about)
    res.add(what, unit, one(value), one(limit), name, value/limit, most=1, **about)

def bench_building(res, tmp, frames):
    "Memory from the middle of a long video to its end"
    video = long_video(tmp/'long.mp4', frames)
    for codec in ('raw','jpeg'):
        got = apart('build', video, codec, frames)
        more = got['after']-got['before']
        limited(res, f'building {frames:,} frames, {codec}: second half', 'MB', more, 20, first_half=round(got['before']))

def bench_sampling(res, many):
    "Memory and time of pairs of very many frames"
    for pairs,limit in ((10**5, 1.), (many, None)):
        got = apart('sample', many, pairs)
        what = f'sampling {pairs:,} pairs of {many:,} frames'
        limited(res, f'{what}: memory', 'MB', got['after']-got['before'], 300)
        limited(res, f'{what}: an epoch', 's', got['seconds'], limit)

def bench_opening(res, tmp, clips):
    "Time and handles of many clips"
    sparse_store(tmp/'clips', clips*200, 200)
    got = apart('open', tmp/'clips')
    limited(res, f'opening {clips:,} clips', 's', got['seconds'], .3)
    limited(res, f'handles of {clips:,} clips', 'handles', got['handles'], 64)

def bench_memory(res, tmp, quick):
    "Flat memory, few handles"
    bench_building(res, tmp, 20_000 if quick else 200_000)
    bench_sampling(res, 10**7)
    bench_opening(res, tmp, 5000)

# ---- all of it

def run(a, tmp):
    "All parts that are wanted"
    os.environ.setdefault('TEMPO_BENCH_RUN', time.strftime('%Y-%m-%dT%H:%M:%S'))      # all rows of this go share it
    began = time.perf_counter()
    def stage(name): print(f'{time.perf_counter()-began:5.0f} s  {name}', flush=True)
    video = a.video or make_video(tmp/'synthetic.mp4', *((100,750) if a.quick else (600,3000)))
    cores = len(os.sched_getaffinity(0))
    res = Results(a.out, 'store', video=video.name, quality=codecs.QUALITY, quick=a.quick, load=round(os.getloadavg()[0], 1))
    parts = a.only.split(',')
    stores = {px: stores_of(video, px, tmp) for px in GOALS} if set(parts)-{'memory'} else {}
    codecs._threads.n = 1
    if 'size' in parts: bench_size(res, stores, video)
    for px,s in stores.items():
        stage(f'{px} px')
        if 'frames' in parts: bench_frames(res, px, s, video, tmp, a.quick)
        if 'threads' in parts: bench_threads(res, px, s, cores, a.quick)
        if 'pairs' in parts: bench_pairs(res, px, s, a.quick)
    stage('memory')
    if 'memory' in parts: bench_memory(res, tmp, a.quick)
    stage('done')
    res.show()

def main():
    p = parser(__doc__, only=','.join(PARTS))
    p.add_argument('--video', type=Path, help='a video of a few thousand frames; without it, one is made')
    p.add_argument('--quick', action='store_true', help='fewer frames and rounds')
    p.add_argument('--out', type=Path, help='a .jsonl file to append the rows to; without it, they are only shown')
    p.add_argument('--apart', help=argparse.SUPPRESS)
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.apart:
        what, *args = json.loads(a.apart)
        return print(json.dumps(APART[what](*args)))
    with tempfile.TemporaryDirectory() as tmp: run(a, Path(tmp))

if __name__=='__main__': main()
