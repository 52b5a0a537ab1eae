"""Every module of the package imports on its own, whatever was imported before it.

What comes from others is imported once; then each module is imported in a child of its own, which has none of ours yet."""
import importlib, os, sys, traceback
from pathlib import Path

root = Path(__file__).resolve().parent.parent
THEIRS = 'numpy', 'pandas', 'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib.pyplot', 'fastai.vision.all', 'av', 'decord'

def alone(name):
    "Whether this module imports in a process without any other of ours; says what went wrong"
    child = os.fork()
    if child==0:
        try: importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]==0

def main():
    "1 where a module does not import"
    sys.path.insert(0, str(root))
    for name in THEIRS: importlib.import_module(name)
    assert not any(m.partition('.')[0]=='tempo' for m in sys.modules), 'the package was imported by something else'
    names = [f'tempo.{p.stem}' for p in sorted((root/'tempo').glob('[!_]*.py'))]
    bad = [name for name in names if not alone(name)]
    print(f'{len(names)} modules, {len(bad)} do not import on their own')
    return int(bool(bad) or not names)

if __name__=='__main__': sys.exit(main())
