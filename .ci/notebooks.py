"""Notebooks as JupyterLab finds them: the plain kernel, at most 300 KB, and no stderr, error, progress bar or path of one machine stored.
Then the front page and the tutorials run from top to bottom with nbclient, in the order of the sidebar, each in a fresh kernel in its own folder; nothing
is written, and what they print there must be as clean. Those whose numbers come from `results/` alone must print what is stored in them: a stale number is a fault. Cells that nbdev_test leaves out (`eval: false`, flags) are left out here too.
`python .ci/notebooks.py [--stored] [NOTEBOOK ...]`; `--stored` runs nothing."""
import json, os, re, sys, time
from pathlib import Path
import nbformat, yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

root = Path(__file__).resolve().parent.parent
LIMIT = 300                                                      # KB
FLAGS = re.search(r'^tst_flags\s*=\s*(.*)$', (root/'settings.ini').read_text(encoding='utf-8'), re.M)[1].split()
BAR = re.compile(r'<progress|\r|\d+%\||█|\[\d+/\d+ [\d:]+(?:<|&lt;)')
PATH = re.compile(r'(?<![\w.~/:-])/(?:tmp|home|root|Users|var/folders)/[^\s\'"<>)]*|\b[A-Z]:\\{1,2}[A-Za-z]\w*')

def texts(o):
    "What an output says, pictures left out"
    for t in [o.get('text','')] + [v for k,v in o.get('data',{}).items() if not k.startswith('image/png')]:
        yield re.sub(r'base64,[\w+/=\s]+', '', t if isinstance(t, str) else ''.join(t) if isinstance(t, list) else json.dumps(t))

def faults(nb):
    "What is wrong with a notebook's cells and outputs: (cell, fault)"
    for i,c in enumerate(nb.cells):
        where = f"cell {i} ({c.get('id','no id')})"
        if (m := PATH.search(c.source)): yield where, f'its source names a path of one machine: {m[0]}'
        for o in c.get('outputs', []):
            if o.output_type=='error': yield where, f"an error is stored: {o.get('ename')}: {o.get('evalue')}"
            if o.get('name')=='stderr': yield where, f"stderr is stored: {o.text[:80]!r}"
            for t in texts(o):
                if (m := BAR.search(t)): yield where, f'a progress bar is stored: {t[m.start():m.start()+60]!r}'
                if (m := PATH.search(t)): yield where, f'a path of one machine is stored: {m[0]}'

def stored(path):
    nb = nbformat.read(path, as_version=4)
    if (kb := path.stat().st_size/1024) > LIMIT: yield 'file', f'{kb:.0f} KB, at most {LIMIT}'
    k = nb.metadata.get('kernelspec', {})
    if (k.get('name'), k.get('language','python')) != ('python3','python'): yield 'file', f"kernel {k.get('name')!r}, not 'python3'"
    yield from faults(nb)

def left_out(source):
    "nbdev_test leaves this cell out"
    words = ' '.join(l[2:] for l in source.splitlines() if l.startswith('#|')).split()
    return bool(set(words) & set(FLAGS)) or bool(re.search(r'^#\|\s*eval:\s*false', source, re.M))

def theirs(o):
    "An output that only holds warnings which other packages raise while they are imported"
    return o.get('name')=='stderr' and not re.sub(r'^\S*site-packages\S*:\d+: \w*Warning: .*\n(?:  .*(?:\n|$))?', '', o.text, flags=re.M).strip()

FROM_RESULTS = ('index', 'claim', 'speed')                       # their tables and sentences (`echo: false`) are made from results/ alone

def said(o):
    "What a reader reads of an output: Markdown, else text; pictures have none"
    d = o.get('data', {})
    return [t.strip() for t in (d.get('text/markdown') or ('' if 'image/png' in d else d.get('text/plain')), o.get('text')) if t and t.strip()]

def stale(path, nb):
    "Cells that now say something else than what is stored"
    was = {c.id: c for c in nbformat.read(path, as_version=4).cells}
    for i,c in enumerate(nb.cells):
        if not re.search(r'^#\|\s*echo:\s*false', c.source, re.M): continue
        a, b = ([t for o in k.get('outputs', []) for t in said(o)] for k in (was[c.id], c))
        if a!=b: yield f'cell {i} ({c.id})', f"its stored output is not what results/ say now: {str(a)[:150]} is now {str(b)[:150]}. Run the notebook and save it"

def run(path):
    "Runs a copy in memory"
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if not (c.cell_type=='code' and left_out(c.source))]
    for c in nb.cells:
        if c.cell_type=='code': c.outputs, c.execution_count = [], None
    try: NotebookClient(nb, timeout=1200, kernel_name='python3', resources=dict(metadata=dict(path=str(path.parent)))).execute()
    except CellExecutionError as e: yield 'run', re.sub(r'\x1b\[[0-9;]*m', '', str(e)).strip()[-600:]
    else:
        for c in nb.cells: c.outputs = [o for o in c.get('outputs', []) if not theirs(o)]
        yield from faults(nb)
        if path.stem in FROM_RESULTS: yield from stale(path, nb)

def in_order():
    "The front page, the tutorials in the order of the sidebar, then those that it does not list"
    def listed(o): return [o] if isinstance(o, str) else [q for p in (o.get('contents', []) if isinstance(o, dict) else o) for q in listed(p)]
    side = listed(yaml.safe_load((root/'nbs/sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar'])
    known = [root/'nbs'/s for s in side if s.startswith('tutorials/')]
    return [root/'nbs/index.ipynb'] + [p for p in known if p.exists()] + sorted(set((root/'nbs/tutorials').glob('*.ipynb'))-set(known))

os.environ.pop('MPLBACKEND', None)                               # figures belong into the notebook
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')]))
only = [Path(a).resolve() for a in sys.argv[1:] if not a.startswith('-')]
every = only or sorted(p for p in (root/'nbs').rglob('*.ipynb') if not any(q.startswith(('.','_')) for q in p.relative_to(root).parts))
n = 0
for p in every:
    for where,what in stored(p): n += 1; print(f'{p.relative_to(root)}, {where}: {what}')
if '--stored' not in sys.argv:
    for p in only or in_order():
        t = time.time()
        for where,what in run(p): n += 1; print(f'{p.relative_to(root)}, run, {where}: {what}')
        print(f'{p.relative_to(root)} ran in {time.time()-t:.0f} s')
print(f'{len(every)} notebooks, {n} faults')
sys.exit(bool(n) or not every)
