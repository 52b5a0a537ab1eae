"""Tries CONTRIBUTING.md's recipes: puts each block of code that names its place into a copy of the notebooks, exports
it, runs the notebooks that say they test it, and uses the result."""
import functools, http.server, json, os, re, shutil, subprocess, sys, tempfile, textwrap, threading
from pathlib import Path

root = Path(__file__).resolve().parent.parent
tmp = Path(tempfile.mkdtemp())
copy, work = tmp/'tempo', tmp/'work'
# no bytecode: two sources of one length that are written within a second look the same to Python
env = os.environ | dict(PYTHONPATH=str(copy), NO_PROXY='127.0.0.1', MPLBACKEND='agg',
    XDG_CACHE_HOME=str(tmp/'cache'), PYTHONWARNINGS='ignore', PYTHONDONTWRITEBYTECODE='1')

def run(*cmd, cwd=work, fails=None):
    "What a command prints; it has to succeed, or to fail with these words"
    p = subprocess.run(list(map(str, cmd)), cwd=cwd, env=env, capture_output=True, text=True)
    as_wanted = p.returncode==0 if fails is None else p.returncode!=0 and fails in p.stderr
    if not as_wanted: sys.exit(f"{' '.join(map(str, cmd))[:200]}\n{p.stdout}{p.stderr}")
    return p.stdout

def recipes():
    "(notebook, text of the cell to go below, code) of each"
    text = (root/'CONTRIBUTING.md').read_text(encoding='utf-8')
    for block in re.findall(r'^ *```python\n(.*?)^ *```', text, re.S|re.M):
        where, code = textwrap.dedent(block).split('\n', 1)
        yield *re.fullmatch(r'# nbs/(\S+), below `(.+)`', where).groups(), code.rstrip()

def insert(nb, below, code):
    "An exported cell, right below the one that holds `below`"
    f = copy/'nbs'/nb
    d = json.loads(f.read_text(encoding='utf-8'))
    sources = [''.join(c['source']) for c in d['cells']]
    found = [i for i,s in enumerate(sources) if s.startswith('#| export') and below in s]
    assert len(found)==1, f'{nb}: {len(found)} exported cells hold {below!r}'
    cell = dict(cell_type='code', execution_count=None,
        id=f'{abs(hash(code)):08x}'[:8],
        metadata={}, outputs=[], source='#| export\n'+code)
    d['cells'].insert(found[0]+1, cell)
    f.write_text(json.dumps(d, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')

def copied():
    "The checkout as git sees it"
    listed = subprocess.run(['git','ls-files','-co','--exclude-standard'], cwd=root, capture_output=True,
        text=True, check=True).stdout
    for f in listed.splitlines():
        if not (root/f).is_file(): continue
        (copy/f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root/f, copy/f, follow_symlinks=False)

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

def serve(folder):
    "The address of a server of the files in `folder`"
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(('127.0.0.1',0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}'

USE = """
import os, tempo
from pathlib import Path
from torch import nn
assert Path(tempo.__file__).parent.samefile(Path(os.environ['PYTHONPATH'])/'tempo'), tempo.__file__
from tempo.backbones import Backbone, load_backbone
from tempo.barlow_loss import AlignLoss
from tempo.linear_eval import linear_eval
from tempo.pretrain import train_tempo
if __name__=='__main__':
    clips, kw = 'signs/clips', dict(weights=None, size=64, bs=8, steps=2, proj=32, proximity=8, path='store')
    learn = train_tempo(clips, 'test_efficientnet', pdf='triangle', loss='align', out='timm.safetensors', **kw)
    assert {'alignment','uniformity'} <= set(learn.watch.table()) and load_backbone('timm.safetensors').meta['config']['pdf']=='triangle'
    train_tempo(clips, 'small_net', loss=AlignLoss(), out='own.safetensors', **kw)
    assert load_backbone('own.safetensors').arch=='small_net'
    net = nn.Sequential(nn.Conv2d(3,64,3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    learn = train_tempo(clips, out=None, average=1, freeze=False, **kw|dict(weights=Backbone(net, arch='mine', n_features=64)))
    r = linear_eval(learn, 'data/my-signs', 1, runs=2, size=64, cache=False)
    assert r.preds.shape==(1,2,4), r.preds.shape
"""

MAKE = """
from tempo.synthetic import make_signs
make_signs('signs', letters='AL', frames=24, test_frames=20, size=64, stills_pc=2, test_stills_pc=2, progress=False)
"""

def put_in_place():
    "All recipes in the copy, exported, and their notebooks' tests"
    found = list(recipes())
    assert len(found)==4, [f[0] for f in found]
    url = serve(tmp/'web')+'/my-signs.zip'
    for nb,below,code in found: insert(nb, below, code.replace('https://example.org/my-signs.zip', url))
    run('nbdev_export', cwd=copy)
    for nb in ('01_sampling','02_barlow_loss'):
        said = run('nbdev_test', '--path', f'nbs/{nb}.ipynb', cwd=copy)
        print(f'{nb}:', said.strip())

def use_them():
    "A data set that is fetched, and trainings with pdf, loss and backbone"
    run(sys.executable, '-c', MAKE)
    shutil.copytree(work/'signs'/'train', tmp/'set'/'train')
    shutil.copytree(work/'signs'/'test', tmp/'set'/'val')
    (tmp/'web').mkdir()
    shutil.make_archive(str(tmp/'web'/'my-signs'), 'zip', tmp/'set')
    assert 'My signs, in one line' in run('tempo_data', 'list')
    assert run('tempo_data', 'my-signs').strip()=='data/my-signs'
    assert (work/'data/my-signs/train/A').is_dir()
    (work/'use.py').write_text(USE)
    run(sys.executable, 'use.py')
    own = ['--arch', 'small_net', '--weights', 'random', '--pdf', 'triangle', '--loss', 'align']
    small = ['--size', 64, '--bs', 8, '--steps', 2, '--proximity', 8]
    run('tempo_train', 'signs/clips', *own, *small, '--out', 'cli.safetensors')
    said = run('tempo_linear_eval', '--path', 'cli.safetensors', '--data', 'data/my-signs', '--runs', 2, '--samples_pc', 1)
    print(said.strip())

def vouch():
    "The third step of a data set: with its size and digest it is accepted, with another's it is not"
    code = "from tempo.datasets import file_digest; print(file_digest('data/my-signs.zip'))"
    digest = run(sys.executable, '-c', code).strip()
    size, f = (work/'data/my-signs.zip').stat().st_size, copy/'tempo/datasets.py'
    text = f.read_text(encoding='utf-8')
    good = text.replace("'my-signs.zip')", f"'my-signs.zip', size={size}, sha256='{digest}')")
    assert good!=text, 'no data set of that name to vouch for'
    f.write_text(good, encoding='utf-8')
    run('tempo_data', 'my-signs', '--out', 'again/my-signs')
    f.write_text(good.replace(digest, '0'*64), encoding='utf-8')
    run('tempo_data', 'my-signs', '--out', 'other/my-signs', fails='its SHA-256 differs')

def main():
    work.mkdir()
    try:
        copied()
        put_in_place()
        use_them()
        vouch()
        print('all four recipes work')
    finally:
        if 'LEAVE_FILES' not in os.environ: shutil.rmtree(tmp, ignore_errors=True)      # `.ci/run` deletes all at its end

if __name__=='__main__': main()
