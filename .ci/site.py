"""The site without quarto: nbdev's processed notebooks, rendered by smalldocs from quarto's own configuration to `_proc/_docs`.

What quarto does and smalldocs does not is done here: pages take the names that nbdev's links use (`data.html`), formulas become
MathML (`html-math-method: mathml`), themes ask no other host for fonts (theme.scss), and 404.html, which is shown in place of a
page in any folder, names its files from the site's root."""
import html, os, re, shutil, sys, unicodedata, warnings
from pathlib import Path

warnings.filterwarnings('ignore', 'Found cells containing imports')
root = Path(__file__).resolve().parent.parent
os.chdir(root)
sys.path.insert(0, str(root))
from latex2mathml.converter import convert
from nbdev.config import get_config
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs
from smalldocs.config import load
from smalldocs.site import Site

def letter(m):
    "Browsers know no script or double-struck `<mi>`, only the letters themselves"
    kind = {'script':'SCRIPT', 'double-struck':'DOUBLE-STRUCK'}[m[1]]
    for name in (f'{kind} CAPITAL {m[2]}', f'MATHEMATICAL {kind} CAPITAL {m[2]}'):
        try: return f'<mi>{unicodedata.lookup(name)}</mi>'
        except KeyError: pass
    return m[0]

def mathml(m):
    "A formula of smalldocs' page, `\\(...\\)` or `\\[...\\]` for KaTeX, as MathML"
    kind, tex = m[1], html.unescape(m[2]).strip()[2:-2]
    res = convert(tex, display='block' if kind=='display' else 'inline')
    return f'<span class="math {kind}">{re.sub(r"<mi mathvariant=.(script|double-struck).>([A-Z])</mi>", letter, res)}</span>'

class NbdevSite(Site):
    def read(self, src):
        page = super().read(src)
        page.out = page.out.with_name(page.front.get('output-file', page.out.name))
        return page
    def render_page(self, page):
        super().render_page(page)
        page.html = re.sub(r'<span class="math (inline|display)">(.*?)</span>', mathml, page.html, flags=re.S)
        for part in page.env.get('search', []): part['text'] = re.sub(r'\[`([^`]+)`\]\(https?:[^)\s]*\)',
            r'\1', part['text'])
        page.env['math'] = False                                                     # KaTeX is not needed
    def copy_assets(self, nav):
        super().copy_assets(nav)
        for css in (self.out/'site_libs/themes').glob('*.css'):
            css.write_text(re.sub(r'@import url\(https?:[^)]*\);', '', css.read_text(encoding='utf-8')), encoding='utf-8')

def from_root(m):
    "A link of 404.html from the site's root"
    outside = re.match(r'([a-z]+:|/|#|$)', m[2])
    return m[0] if outside else f'{m[1]}="{base}{m[2].removeprefix("./")}"'

shutil.rmtree('_proc', ignore_errors=True)
refresh_quarto_yml()
proc_nbs(n_workers=0)
os.chdir('_proc')
site = NbdevSite(load('.'))
n = site.build()
lost = site.out/'404.html'
base = get_config().doc_baseurl.rstrip('/')+'/'
links = r'\b(href|src|name="smalldocs:offset" content)="([^"]*)"'
lost.write_text(re.sub(links, from_root, lost.read_text(encoding='utf-8')), encoding='utf-8')
print(n, 'pages in _proc/_docs')
broken = [w for w in site.warnings if 'broken' in w]
if broken: sys.exit('\n'.join(broken))
