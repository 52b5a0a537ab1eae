"""Makes README.md (and index_files/) from nbs/index.ipynb with nbdev's own processing and nbconvert: quarto is not needed.
`--check` compares with what is there instead of writing, and fails where they differ."""
import os, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
os.chdir(root)
sys.path.insert(0, str(root))
from execnb.nbio import read_nb
from nbconvert import MarkdownExporter
from nbdev.processors import FilterDefaults
import nbformat
from nbformat.v4.rwbase import rejoin_lines as join_lines

class Plain(FilterDefaults):
    "nbdev's processors without links into the site: the README is read where there may be none"
    def procs(self): return super().procs().filter(lambda p: p.__name__!='add_links')

def tidy(cell):
    "Keep the alternative text of a figure, hide sources that are not echoed, drop styles from tables"
    alt = re.search(r'^#\|\s*fig-alt:\s*(.*)\n', cell.source, re.M)
    if alt: cell.metadata['alt'], cell.source = alt[1], cell.source.replace(alt[0], '')
    if cell.cell_type=='code' and re.search(r'^#\|\s*echo:\s*false', cell.source, re.M): cell.source = ''
    if 'outputs' in cell: cell.outputs = [o for o in cell.outputs if 'fastprogress' not in str(o.get('data'))]     # a table of losses
    for o in cell.get('outputs', []):
        html = o.get('data', {}).get('text/html')
        if html: o.data['text/html'] = re.sub(r'<style.*?</style>\n?', '', html, flags=re.S)

def processed():
    "The front page as nbdev prepares it for quarto, hidden sources left out"
    nb = read_nb('nbs/index.ipynb')
    Plain()(nb)
    nb = join_lines(nbformat.from_dict(dict(nb)))                                    # nbconvert wants one string of each output
    nb.metadata.language_info = dict(name='python')                                  # colours on GitHub
    for cell in nb.cells: tidy(cell)
    return nb

def with_alt(nb, text):
    "The text, each figure with its alternative text"
    def one(m):
        alt = nb.cells[int(m[2])].metadata.get('alt')
        if not alt: sys.exit(f'{m[1][1:]}.. has no alternative text: begin its cell with #| fig-alt: ...')
        return f'![{alt}]{m[1]}'
    return re.sub(r'!\[png\](\(index_files/figure_(\d+)_)', one, text)

def readme():
    "README.md's text, and its figures by name"
    nb = processed()
    resources = dict(output_files_dir='index_files', unique_key='figure')
    text, res = MarkdownExporter().from_notebook_node(nb, resources=resources)
    title = read_nb('nbs/index.ipynb').cells[0].source                               # nbdev turned it into front matter
    text = re.sub(r'^\s*---\n.*?\n---\n(\s*<!--.*?-->)?', lambda m: title+'\n', text, count=1, flags=re.S)
    text = with_alt(nb, re.sub(r'```(python)?\n\s*```\n', '', text))
    text = re.sub(r'\]\(([\w/]+\.ipynb)(#[\w-]+)?\)', r'](nbs/\1)', text)             # GitHub shows notebooks without anchors
    text = re.sub(r'\n{3,}', '\n\n', text).strip()
    return f'<!-- made from nbs/index.ipynb by .ci/readme.py -->\n\n{text}\n', res['outputs']

def main():
    "Write the files, or compare them"
    text, figures = readme()
    want = {'README.md': text.encode(), **figures}
    files = [Path('README.md'), *Path('index_files').glob('*')]
    have = {str(f): f.read_bytes() for f in files if f.exists()}
    if '--check' in sys.argv:
        differ = sorted(f for f in want.keys()|have.keys() if want.get(f)!=have.get(f))
        if differ: sys.exit(f"{', '.join(differ)} differ from what nbs/index.ipynb gives. Run: python .ci/readme.py")
        return
    for f in have.keys()-want.keys(): Path(f).unlink()
    Path('index_files').mkdir(exist_ok=True)
    for f,content in want.items(): Path(f).write_bytes(content)

if __name__=='__main__': main()
