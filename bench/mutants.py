"What `bench/fuzz.py` reads: inputs that are made here, and the ways in which bytes and JSON are damaged, each by a seed."
import copy, functools, io, json, tarfile, warnings, zipfile
import numpy as np
from PIL import Image

# ---- frames that carry their number

SIDE = 64      # pixels
FRAMES = 60    # of each clip
FPS = 30
DARK, BRIGHT = 24, 231
NOISE = 20     # grey levels: so that most bytes of a file are pictures

def check(number):
    "Eight bits that belong to a number below 256"
    return (number*167+89)%256

def numbered(number):
    "A frame (SIDE,SIDE,3) of 16 blocks: the bits of its number, and of that number's check"
    bits = np.unpackbits(np.array([number, check(number)], np.uint8)).reshape(4,4)
    grey = np.where(bits, BRIGHT, DARK).astype(np.uint8)
    blocks = np.kron(grey, np.ones((SIDE//4, SIDE//4), np.uint8))
    noise = np.random.default_rng(number).integers(-NOISE, NOISE+1, (SIDE,SIDE))
    return np.repeat((blocks+noise).astype(np.uint8)[...,None], 3, -1)

def number_of(frame):
    "The number of a frame; None where its blocks are not black and white, or do not belong together"
    k = SIDE//4
    inner = frame.mean(-1).reshape(4, k, 4, k)[:, k//4:-k//4, :, k//4:-k//4]
    grey = inner.mean((1,3))
    if np.any(abs(grey-128)<50): return None
    number, other = np.packbits(grey.ravel()>128).tolist()
    return number if other==check(number) else None

H264 = dict(g='20', bf='2', preset='veryfast', crf='26')
CLIPS = {                         # file: encoder, its options
    'h264.mp4': ('libx264', H264), 'h264.mov': ('libx264', H264), 'h264.mkv': ('libx264', H264), 'h264.ts': ('libx264', H264),
    'hevc.mp4': ('libx265', {'x265-params': 'keyint=20:crf=30:log-level=none:pools=none:frame-threads=1', 'crf': '30'}),
    'vp9.webm': ('libvpx-vp9', dict(g='20', deadline='realtime', crf='50', **{'cpu-used': '8'})),
    'mpeg4.avi': ('mpeg4', dict(g='20', bf='1')), 'mpeg2.mpg': ('mpeg2video', dict(g='12', bf='2')),
    'flv1.flv': ('flv', dict(g='20')), 'mjpeg.avi': ('mjpeg', {})}
PIXELS = dict(mjpeg='yuvj420p')

def write_clip(path, codec, options, frames=FRAMES):
    "Numbered frames as a video, the same bytes every time"
    import av
    with av.open(str(path), 'w', options=dict(fflags='+bitexact')) as out:
        stream = out.add_stream(codec, rate=FPS, options=dict(options, flags='+bitexact'))
        stream.codec_context.thread_count = 1
        stream.width = stream.height = SIDE
        stream.pix_fmt = PIXELS.get(codec, 'yuv420p')
        if 'crf' not in options: stream.bit_rate = 100_000
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(i), format='rgb24')
            out.mux(stream.encode(frame))
        out.mux(stream.encode())

def encodable():
    "Those of `CLIPS` that this PyAV can write"
    import av
    return {name: how for name,how in CLIPS.items() if how[0] in av.codecs_available}

# ---- stills and archives

STILL = 32     # pixels a side

def picture(seed=0):
    "A picture (STILL,STILL,3) of smooth colours"
    coarse = np.random.default_rng(seed).integers(0, 256, (5,5,3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((STILL,STILL), Image.BICUBIC))

def deep():
    "A picture of 16 bits, (STILL,STILL)"
    return picture(1)[...,0].astype(np.uint16)*257

def ids():
    "A mask (STILL,STILL) of three ids"
    a = np.zeros((STILL,STILL), np.uint8)
    a[4:14,4:20] = 1
    a[18:30,10:28] = 2
    return a

def stills():
    "{file: picture}"
    rgb = {name: Image.fromarray(picture()) for name in 'rgb.png rgb.jpg rgb.tif rgb.bmp rgb.gif rgb.webp'.split()}
    return rgb | {'grey16.png': Image.fromarray(deep()), 'ids.png': Image.fromarray(ids())}

def contents():
    "{name: bytes} of an archive"
    g = np.random.default_rng(0)
    few = {f'set/A/{i}.bin': g.bytes(300) for i in range(3)}
    return few | {'set/B/empty.txt': b'', 'set/notes.txt': b'a line of words, again and again\n'*40}

def write_zip(path, method):
    "The contents as a zip"
    with zipfile.ZipFile(path, 'w', method) as z:
        for name,data in contents().items(): z.writestr(zipfile.ZipInfo(name), data, method)

def write_tar(path, mode):
    "The contents as a tar"
    with tarfile.open(path, mode) as t:
        for name,data in contents().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))

# ---- bytes

def place(n, rng):
    "A place within `n` bytes; in two of three cases near an end, where headers lie"
    near = int(rng.integers(min(n, 1024)))
    return [near, n-1-near, int(rng.integers(n))][rng.integers(3)]

def span(n, rng, most):
    "Beginning and end of at most `most` bytes"
    a = place(n, rng)
    return a, min(n, a+1+int(rng.integers(most)))

def flip(data, rng):
    out = bytearray(data)
    for _ in range(rng.integers(1, 9)): out[place(len(data), rng)] ^= 1<<int(rng.integers(8))
    return bytes(out)

def overwrite(data, rng):
    a,b = span(len(data), rng, 64)
    return data[:a]+rng.bytes(b-a)+data[b:]

def cut(data, rng):
    a,b = span(len(data), rng, 400)
    return data[:a]+data[b:]

def put_in(data, rng):
    a,b = span(len(data), rng, 400)
    some = data[a:b] if rng.random()<.5 else rng.bytes(b-a)
    at = place(len(data), rng)
    return data[:at]+some+data[at:]

def zero_page(data, rng):
    page = min(512, max(1, len(data)//4))
    a = place(len(data), rng)//page*page
    return data[:a]+bytes(min(page, len(data)-a))+data[a+page:]

def truncate(data, rng):
    return data[:int(rng.integers(len(data)))]

def swap(data, rng):
    n = 1+int(rng.integers(min(512, max(1, len(data)//3))))
    a,b = sorted(int(rng.integers(0, len(data)-n)) for _ in range(2))
    if b<a+n: return data[::-1] if len(data)<4 else data[:a]+data[a:a+n][::-1]+data[a+n:]
    return data[:a]+data[b:b+n]+data[a+n:b]+data[a:a+n]+data[b+n:]

BYTES = dict(flip=flip, overwrite=overwrite, cut=cut, put_in=put_in, zero_page=zero_page, truncate=truncate, swap=swap)

def damage(data, rng):
    "(how, bytes): damaged once, in one of the ways of `BYTES`; never the same bytes as before"
    while True:
        how = str(rng.choice(list(BYTES)))
        out = BYTES[how](data, rng)
        if out!=data: return how, out

# ---- JSON

def edits():
    "What hypothesis draws: one to three of (which value, what is done to it, another value)"
    from hypothesis import strategies as st
    odd = st.sampled_from([0, -1, 1e9, 1e308, 2**63, 2**200, '', '1', 'nan', '../../x', 'a\\b', [], {}, [[]], [0,0]])
    plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6))
    value = st.one_of(odd, plain, st.lists(plain, max_size=3))
    what = st.sampled_from(['set','set','drop','again','exchange'])
    one = st.tuples(st.integers(0, 10**6), what, value, st.integers(0, 10**6))
    return st.lists(one, min_size=1, max_size=3)

BATCH = 50     # draws of hypothesis from one seed

@functools.lru_cache
def batch(seed):
    "Some edits, the same every time"
    from hypothesis import HealthCheck, Phase, given, seed as seeded, settings
    found = []
    how = settings(max_examples=BATCH, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck))
    def keep(e): found.append(copy.deepcopy(e))
    with warnings.catch_warnings(action='ignore'):
        how(seeded(seed)(given(edits())(keep)))()
    return found

def drawn(seed, k):
    "The edits of mutant `k`"
    found = batch(seed*10_000+k//BATCH)
    return found[k%len(found)]

def slots(o):
    "Every (container, key) of nested dicts and lists"
    keys = o.keys() if isinstance(o, dict) else range(len(o)) if isinstance(o, list) else ()
    for key in list(keys):
        yield o, key
        yield from slots(o[key])

def edit(doc, edits):
    "A copy of `doc`, edited"
    doc = copy.deepcopy(doc)
    for which,what,value,other in edits:
        there = list(slots(doc))
        if not there: return doc
        change(*there[which%len(there)], what, value, there[other%len(there)])
    return doc

def change(o, key, what, value, other):
    "Do `what` to the value of `o` at `key`; `other` is another place"
    there, its = other
    if what=='set': o[key] = value
    elif what=='drop': del o[key]
    elif what=='again' and isinstance(o, list): o.insert(key, copy.deepcopy(o[key]))
    else: o[key] = copy.deepcopy(there[its])
