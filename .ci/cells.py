"""Runs the code of notebooks in plain Python, cell after cell as `nbdev_test` does, where nbdev is not installed.

`python .ci/cells.py NOTEBOOK …` prints a line a notebook and fails where a cell does. Cells with a flag (`slow`, `detectron2`,
`eval: false`) and the one that exports are left out."""
import ast, json, os, subprocess, sys, time, types
from pathlib import Path

root = Path(__file__).resolve().parent.parent
LEFT_OUT = ('#| slow', '#| detectron2', '#| eval: false', 'nbdev.nbdev_export()')

def cells(path):
    "(number, code) of the cells that count"
    for i,c in enumerate(json.loads(path.read_text(encoding='utf-8'))['cells']):
        code = ''.join(c['source'])
        if c['cell_type']=='code' and not any(mark in code for mark in LEFT_OUT): yield i, code

def without_magics(code):
    "The code; lines for IPython alone are left out"
    return '\n'.join('' if line.lstrip().startswith(('%','!')) else line for line in code.split('\n'))

def run_cell(code, where, names):
    "A cell as a notebook runs it: the value of its last line is shown, here as text"
    tree = ast.parse(code, where)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, 'exec'), names)
    if last: repr(eval(compile(ast.Expression(last.value), where, 'eval'), names))

def run(path):
    "All cells of one notebook, in this process"
    os.chdir(path.parent)
    notebook = types.ModuleType('__main__')
    notebook.display = repr
    for i,code in cells(path):
        sys.modules['__main__'] = notebook          # pickle looks there for what the notebook defines; IPython puts itself there
        run_cell(without_magics(code), f'{path.name}, cell {i}', vars(notebook))

def main(args):
    "Each notebook in a process of its own; 1 where one fails"
    failed = 0
    env = os.environ | dict(PYTHONPATH=str(root), MPLBACKEND='agg')
    for name in args:
        began = time.perf_counter()
        p = subprocess.run([sys.executable, '-W', 'ignore', __file__, '--one', name], env=env, capture_output=True, text=True)
        said = 'passed' if not p.returncode else 'FAILED\n'+p.stderr[-3000:]
        print(f'{Path(name).name}: {said} ({time.perf_counter()-began:.0f} s)', flush=True)
        failed += p.returncode!=0
    print(f'{len(args)-failed} passed, {failed} failed')
    return int(failed>0)

if __name__=='__main__':
    if sys.argv[1:2]==['--one']: run(Path(sys.argv[2]).resolve())
    else: sys.exit(main(sys.argv[1:]))
