"""Notebooks as JupyterLab finds them, and as it leaves them: a line of source is a line of the file, so that saving one
changes nothing else. The plain kernel, at most 300 KB, and no stderr, error, progress bar or path of one machine stored.

Then the front page and the tutorials run from top to bottom with nbclient, two at a time, each in a fresh
kernel in its own folder. Nothing is written, and what they print there must be as clean. Those whose numbers come from
`results/` alone must print what is stored in them: a stale number is a fault. Cells that nbdev_test leaves out
(`eval: false`, flags) are left out here too.

`python .ci/notebooks.py [--stored] [NOTEBOOK ...]`; `--stored` runs nothing."""
import json, os, re, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import nbformat, yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

root = Path(__file__).resolve().parent.parent
LIMIT = 300                                                      # KB
FLAGS = re.search(r'^tst_flags\s*=\s*(.*)$', (root/'settings.ini').read_text(encoding='utf-8'),
    re.M)[1].split()
BAR = re.compile(r'<progress|\r|\d+%\||█|\[\d+/\d+ [\d:]+(?:<|&lt;)')
PATH = re.compile(r'(?<![\w.~/:-])/(?:tmp|home|root|Users|var/folders)/[^\s\'"<>)]*|\b[A-Z]:\\{1,2}[A-Za-z]\w*')
# their tables and sentences (`echo: false`) are made from results/ alone
FROM_RESULTS = 'index', 'claim', 'speed', 'domains', 'signs', 'ultrasound', 'mouse', 'history'

def as_text(value):
    "Text of a piece of output, whatever nbformat made of it"
    if isinstance(value, str): return value
    return ''.join(value) if isinstance(value, list) else json.dumps(value)

def texts(o):
    "What an output says, pictures left out"
    said = [o.get('text','')]
    said += [v for k,v in o.get('data',{}).items() if not k.startswith('image/')]
    for t in said: yield re.sub(r'base64,[\w+/=\s]+', '', as_text(t))

def output_faults(o):
    "What is wrong with one output"
    if o.output_type=='error': yield f"an error is stored: {o.get('ename')}: {o.get('evalue')}"
    if o.get('name')=='stderr': yield f"stderr is stored: {o.text[:80]!r}"
    for t in texts(o):
        bar, path = BAR.search(t), PATH.search(t)
        if bar: yield f'a progress bar is stored: {t[bar.start():bar.start()+60]!r}'
        if path: yield f'a path of one machine is stored: {path[0]}'

def faults(nb):
    "What is wrong with a notebook's cells and outputs: (cell, fault)"
    for i,c in enumerate(nb.cells):
        where = f"cell {i} ({c.get('id','no id')})"
        path = PATH.search(c.source)
        if path: yield where, f'its source names a path of one machine: {path[0]}'
        for o in c.get('outputs', []):
            for what in output_faults(o): yield where, what

def stored(path):
    "What is wrong with a notebook as it is stored"
    nb = nbformat.read(path, as_version=4)
    if nbformat.writes(nb).strip()!=path.read_text(encoding='utf-8').strip():
        yield 'file', 'JupyterLab would store it in other lines. Open it there and save it'
    kb = path.stat().st_size/1024
    if kb>LIMIT: yield 'file', f'{kb:.0f} KB, at most {LIMIT} (.ci/palette.py stores its figures in fewer bytes)'
    kernel = nb.metadata.get('kernelspec', {})
    if (kernel.get('name'), kernel.get('language','python'))!=('python3','python'): yield 'file', f"kernel {kernel.get('name')!r}, not 'python3'"
    yield from faults(nb)

def left_out(source):
    "Whether nbdev_test leaves this cell out"
    words = ' '.join(l[2:] for l in source.splitlines() if l.startswith('#|')).split()
    return bool(set(words) & set(FLAGS)) or bool(re.search(r'^#\|\s*eval:\s*false', source, re.M))

def theirs(o):
    "Whether an output only holds warnings which other packages raise while they are imported"
    if o.get('name')!='stderr': return False
    ours = re.sub(r'^\S*site-packages\S*:\d+: \w*Warning: .*\n(?:  .*(?:\n|$))?', '', o.text, flags=re.M)
    return not ours.strip()

def said(cell):
    "What a reader reads of a cell's outputs: Markdown, else text; pictures have none"
    out = []
    for o in cell.get('outputs', []):
        data = o.get('data', {})
        shown = '' if any(k.startswith('image/') for k in data) else data.get('text/plain')
        out += [data.get('text/markdown') or shown, o.get('text')]
    return [t.strip() for t in out if t and t.strip()]

def stale(path, nb):
    "Cells that now say something else than what is stored"
    was = {c.id: c for c in nbformat.read(path, as_version=4).cells}
    for i,c in enumerate(nb.cells):
        if not re.search(r'^#\|\s*echo:\s*false', c.source, re.M): continue
        before, now = said(was[c.id]), said(c)
        if before==now: continue
        yield f'cell {i} ({c.id})', (f"its stored output is not what results/ say now: {str(before)[:150]} is now {str(now)[:150]}. "
            "Run the notebook and save it")

def run(path):
    "What is wrong when a copy runs in memory"
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if c.cell_type!='code' or not left_out(c.source)]
    for c in nb.cells:
        if c.cell_type=='code': c.outputs, c.execution_count = [], None
    client = NotebookClient(nb, timeout=1200, kernel_name='python3',
        resources=dict(metadata=dict(path=str(path.parent))))
    try: client.execute()
    except CellExecutionError as e:
        yield 'run', re.sub(r'\x1b\[[0-9;]*m', '', str(e)).strip()[-600:]
        return
    for c in nb.cells: c.outputs = [o for o in c.get('outputs', []) if not theirs(o)]
    yield from faults(nb)
    if path.stem in FROM_RESULTS: yield from stale(path, nb)

def timed(path):
    "A notebook, what is wrong when it runs, and how long that took (s)"
    began = time.time()
    return path, list(run(path)), time.time()-began

def listed(o):
    "Names of pages in a part of the sidebar"
    if isinstance(o, str): return [o]
    if isinstance(o, dict) and 'href' in o: return [o['href']]                       # a page under a name of its own
    parts = o.get('contents', []) if isinstance(o, dict) else o
    return [name for part in parts for name in listed(part)]

def in_order():
    "The front page, the tutorials in the order of the sidebar, then those that it does not list"
    sidebar = yaml.safe_load((root/'nbs/sidebar.yml').read_text(encoding='utf-8'))
    names = listed(sidebar['website']['sidebar'])
    known = [root/'nbs'/name for name in names if name.startswith('tutorials/')]
    others = set((root/'nbs/tutorials').glob('*.ipynb'))-set(known)
    return [root/'nbs/index.ipynb', *filter(Path.exists, known), *sorted(others)]

def notebooks():
    "All of them"
    hidden = lambda p: any(q.startswith(('.','_')) for q in p.relative_to(root).parts)
    return sorted(p for p in (root/'nbs').rglob('*.ipynb') if not hidden(p))

def main(args):
    "Print the faults; 1 where there are any"
    os.environ.pop('MPLBACKEND', None)                           # figures belong into the notebook
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')]))
    only = [Path(a).resolve() for a in args if not a.startswith('-')]
    every, found = only or notebooks(), 0
    def report(path, kind, bad):
        nonlocal found
        for where,what in bad:
            found += 1
            print(f'{path.relative_to(root)}{kind}, {where}: {what}')
    for p in every: report(p, '', stored(p))
    with ProcessPoolExecutor(2) as pool:
        for p,bad,seconds in pool.map(timed, [] if '--stored' in args else only or in_order()):
            report(p, ', run', bad)
            print(f'{p.relative_to(root)} ran in {seconds:.0f} s')
    print(f'{len(every)} notebooks, {found} faults')
    return int(bool(found) or not every)

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
