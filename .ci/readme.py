"""Makes README.md (and index_files/) from nbs/index.ipynb with nbdev's own processing and nbconvert: quarto is not needed.
`--check` compares with what is there instead of writing, and fails where they differ."""
import os, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
os.chdir(root); sys.path.insert(0, str(root))
from execnb.nbio import read_nb
from nbconvert import MarkdownExporter
from nbdev.processors import FilterDefaults
import nbformat

class Plain(FilterDefaults):
    "nbdev's processors without links into the site: the README is read where there may be none"
    def procs(self): return super().procs().filter(lambda p: p.__name__!='add_links')

def processed():
    "The front page as nbdev prepares it for quarto, hidden sources left out"
    nb = read_nb('nbs/index.ipynb')
    Plain()(nb)
    nb = nbformat.from_dict(dict(nb))
    for c in nb.cells:
        if (m := re.search(r'^#\|\s*fig-alt:\s*(.*)\n', c.source, re.M)): c.metadata['alt'], c.source = m[1], c.source.replace(m[0], '')
        if c.cell_type=='code' and re.search(r'^#\|\s*echo:\s*false', c.source, re.M): c.source = ''
        for o in c.get('outputs', []):
            if 'text/html' in o.get('data', {}): o.data['text/html'] = re.sub(r'<style.*?</style>\n?', '', ''.join(o.data['text/html']), flags=re.S)
    return nb

def readme():
    "README.md's text, and its figures by name"
    nb = processed()
    text, res = MarkdownExporter().from_notebook_node(nb, resources=dict(output_files_dir='index_files', unique_key='figure'))
    title = read_nb('nbs/index.ipynb').cells[0].source                               # nbdev turned it into front matter
    text = re.sub(r'^\s*---\n.*?\n---\n(\s*<!--.*?-->)?', lambda m: title+'\n', text, count=1, flags=re.S)
    text = re.sub(r'```(python)?\n\s*```\n', '', text)
    def alt(m): return f"![{nb.cells[int(m[2])].metadata.get('alt') or sys.exit(f'{m[1][1:]}.. has no alternative text: begin its cell with #| fig-alt: ...')}]{m[1]}"
    text = re.sub(r'!\[png\](\(index_files/figure_(\d+)_)', alt, text)
    text = re.sub(r'\]\(([\w/]+\.ipynb)(#[\w-]+)?\)', r'](nbs/\1)', text)             # GitHub shows notebooks without anchors
    return '<!-- made from nbs/index.ipynb by .ci/readme.py -->\n\n' + re.sub(r'\n{3,}', '\n\n', text).strip()+'\n', res['outputs']

text, figures = readme()
want = {'README.md': text.encode(), **figures}
have = {str(f): f.read_bytes() for f in [Path('README.md'), *Path('index_files').glob('*')] if f.exists()}
if '--check' in sys.argv:
    differ = sorted(f for f in want.keys()|have.keys() if want.get(f)!=have.get(f))
    if differ: sys.exit(f"{', '.join(differ)} differ from what nbs/index.ipynb gives. Run: python .ci/readme.py")
else:
    for f in have.keys()-want.keys(): Path(f).unlink()
    Path('index_files').mkdir(exist_ok=True)
    for f,b in want.items(): Path(f).write_bytes(b)
