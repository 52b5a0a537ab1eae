"""One idea a line, in figures: statements joined on one line, lines over 160 characters, comments of notebooks
that reach beyond column 88 (a page of the site shows as many), and syntax nodes a line.

What a reader sees counts: exported and shown cells of every notebook, `bench/` and `.ci/`. In cells that are hidden
(`#| hide`, `#| echo: false`) only joined statements do. A line's nodes are those of Python's syntax tree that begin on it. The
95th percentile over all lines that have any says how tightly a file is packed (fastcore: 16, nanoGPT: 15, Barlow Twins: 12).

`python .ci/style.py [FILE ...]` prints a row a file and fails where a figure is above its bound; `--lines` names the places."""
import ast, io, json, sys, tokenize
from collections import Counter
from pathlib import Path

root = Path(__file__).resolve().parent.parent
WIDTH = 160   # characters a line
COMMENT = 88  # the column that comments of notebooks end by
NODES = 18    # syntax nodes a line, 95th percentile, over all files
FILE = 30     # the same for each file: none may be packed and hide among the others
NAMES = 3     # names assigned at once

def cells(path):
    "Pieces of Python of a file, each with the name of the place that it stands in"
    text = path.read_text(encoding='utf-8')
    if path.suffix!='.ipynb':
        yield '', text
        return
    for i,c in enumerate(json.loads(text)['cells']):
        lines = ''.join(c['source']).split('\n')
        code = [l for l in lines if not l.lstrip().startswith(('%','!'))]
        if c['cell_type']=='code': yield f'cell {i} ', '\n'.join(code)

def unseen(code):
    "Whether a reader does not see this cell"
    return any(l.replace(' ','') in ('#|hide','#|echo:false') for l in code.split('\n')[:4])

def is_python(path):
    "Whether a file without an ending begins like a Python script"
    if path.suffix in ('.py','.ipynb'): return True
    return not path.suffix and path.is_file() and 'python' in path.read_text(encoding='utf-8').partition('\n')[0]

def joined(tree):
    "Line numbers on which a second statement begins"
    for node in ast.walk(tree):
        for field in ('body','orelse','finalbody'):
            body = getattr(node, field, None)
            if not isinstance(body, list): continue
            for a,b in zip(body, body[1:]):
                if a.end_lineno==b.lineno: yield b.lineno

def crowded(tree):
    "Line numbers of assignments of more than three names at once"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign): continue
        for target in node.targets:
            names = target.elts if isinstance(target, (ast.Tuple,ast.List)) else []
            if len(names)>NAMES: yield node.lineno

def walrus(tree):
    "Line numbers of messages (f-strings) with an assignment within"
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and any(isinstance(o, ast.NamedExpr) for o in ast.walk(node)): yield node.lineno

def far(code):
    "Line numbers of comments that reach beyond column 88; what nbdev reads (`#|`) is on no page"
    for t in tokenize.generate_tokens(io.StringIO(code).readline):
        if t.type==tokenize.COMMENT and t.end[1]>COMMENT and not t.string.startswith('#|'): yield t.start[0]

def nodes(tree):
    "How many nodes begin on each line"
    return Counter(n.lineno for n in ast.walk(tree) if hasattr(n, 'lineno'))

def p95(counts):
    "The 95th percentile"
    counts = sorted(counts)
    return counts[int(.95*len(counts))] if counts else 0

def measure(path):
    "Faults of a file as (kind, place), and the nodes of each of its lines"
    faults, counts = [], []
    for where,code in cells(path):
        tree = ast.parse(code)
        kinds = dict(joined=joined) if unseen(code) else dict(joined=joined, crowded=crowded, walrus=walrus)
        for kind,find in kinds.items():
            faults += [(kind, f'{where}line {n}') for n in find(tree)]
        if unseen(code): continue
        faults += [('wide', f'{where}line {n}') for n,l in enumerate(code.split('\n'), 1) if len(l)>WIDTH]
        if path.suffix=='.ipynb': faults += [('far', f'{where}line {n}') for n in far(code)]
        counts += nodes(tree).values()
    return faults, counts

def files():
    "Notebooks, `bench/` and `.ci/`"
    notebooks = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
    scripts = [p for d in ('bench','.ci') for p in sorted((root/d).iterdir()) if is_python(p)]
    return notebooks + scripts

def main(args):
    "Print the table; 1 where a bound is broken"
    named = [Path(a).resolve() for a in args if not a.startswith('-')]
    bad, every = 0, []
    print(f"{'joined':>7} {'wide':>5} {'crowded':>8} {'walrus':>7} {'far':>4} {'p95':>4}")
    for path in named or files():
        faults, counts = measure(path)
        every += counts
        n = Counter(kind for kind,_ in faults)
        packed = p95(counts)
        bad += len(faults)>0 or packed>FILE
        print(f"{n['joined']:7} {n['wide']:5} {n['crowded']:8} {n['walrus']:7} {n['far']:4} {packed:4}  {path.relative_to(root)}")
        if '--lines' in args:
            for kind,place in faults: print(f'          {kind}: {place}')
    print(f'nodes a line at the 95th percentile: {p95(every)} (at most {NODES}); {bad} files break a bound')
    return int(bad>0 or p95(every)>NODES)

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
