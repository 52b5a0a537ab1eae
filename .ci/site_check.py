"""Loads every page of the rendered site in headless Chromium, from a server on this machine and with no other host in reach, on a
phone (390 pixels) and on a desk (1280), and lists what a reader would stumble over: `page: fault`. Exits with 1 where there is any.
On some pages axe-core, which npm fetches, also looks for what keeps people out: by keyboard, by ear, in the dark.
`python .ci/site_check.py [FOLDER [PAGE ...]]`, of all pages or of these; the browser is $CHROMIUM or /usr/bin/chromium."""
import ast, json, os, re, shutil, subprocess, sys, tempfile, threading
from collections import defaultdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from playwright.sync_api import sync_playwright

root = Path(__file__).resolve().parent.parent
docs = Path(sys.argv[1] if len(sys.argv)>1 else root/'_proc/_docs').resolve()
FLAGS = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'
PHONE = dict(width=390, height=844)
DESK = dict(width=1280, height=900)
SEARCH = 'train_tempo'
PATIENCE = 120_000                                              # for a page on a busy machine (ms)
AXE = 'axe-core@4.14'
LOOKED_AT = ['index.html', 'tutorials/your_video.html', 'pretrain.html', 'cli.html', '404.html']    # by axe: one of each kind

# what a page says about itself, read in the browser once its scripts have run
READ = r"""() => {
  const all = (css, root = document) => [...root.querySelectorAll(css)], main = document.querySelector('main')
  const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT), raw = [], markdown = []
  while (texts.nextNode()) {
    const t = texts.currentNode, near = t.parentElement
    if (near.closest('script, style, math, annotation')) continue
    if (/\]\(https?:/.test(t.data)) markdown.push(t.data.trim().slice(0, 80))
    if (near.closest('pre, code')) continue
    const m = t.data.match(/\$[^\s$][^$\n]*\$|\\[(\[]|\\begin\{/)
    if (m) raw.push(t.data.slice(m.index, m.index+60))
  }
  const wide = document.documentElement.scrollWidth > innerWidth
  const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement))
  const boxes = all('main, main :is(p, li, div, pre, table, img, svg, math, a, h1, h2, h3)')
  const over = boxes.filter(e => e.getBoundingClientRect().right > innerWidth+1 && !scrolls(e))
  // cut off: beyond the main column, or clipped by a box, with no scroll bar on the way
  const style = e => getComputedStyle(e), right = e => e.getBoundingClientRect().right
  const bar = e => /auto|scroll/.test(style(e).overflowX) && style(e).scrollbarWidth != 'none'
  const hides = (e, box) => /hidden|clip|auto|scroll/.test(style(box).overflowX) && right(e) > right(box)+1
  const cut = e => {
    for (let box = e.parentElement; box && main.contains(box); box = box.parentElement) {
      if (bar(box)) return false
      if (hides(e, box)) return true
    }
    return right(e) > right(main)+1
  }
  const shown = e => e.getClientRects().length && e.getBoundingClientRect().width > 1 && !e.closest('math')
  const says = e => (e.innerText || e.alt || e.outerHTML).trim().slice(0, 50)
  const parts = all('p, li, div, pre, table, img, svg, td, th, h1, h2, h3, summary', main).filter(shown)
  const spills = all('td, th', main).filter(e => shown(e) && e.scrollWidth > e.clientWidth+1)
  const clipped = parts.filter(e => !bar(e) && /hidden|clip/.test(style(e).overflowX) && e.scrollWidth > e.clientWidth+1)
  const cells = [...new Set([...spills, ...all('td, th', main).filter(e => shown(e) && cut(e))])].map(says)
  const cuts = [...new Set([...clipped, ...parts.filter(e => !e.matches('td, th') && cut(e))])].map(says)
  const documented = {}   // a name's entry: its heading, and above it nbdev's link to the source
  for (const a of all('main a')) if (a.textContent == 'source') {
    let e = a.closest('p')
    while (e && !/^H[1-6]$/.test(e.tagName)) e = e.nextElementSibling
    if (e) documented[e.textContent.trim()] = a.href
  }
  return {
    raw, markdown, documented, cuts, cells,
    wide: (wide || over.length > 0) && [document.documentElement.scrollWidth, ...over.slice(-1).map(e => e.outerHTML.slice(0, 100))],
    math: all('math, .katex, mjx-container').length, broken_math: all('merror, .katex-error, .MathJax_Error').length,
    alt: all('img').filter(i => !(i.alt || '').trim()).map(i => i.closest('.cell')?.querySelector('pre')?.innerText.slice(0, 60) || i.src.slice(0, 60)),
    empty: all('img').filter(i => i.complete && !i.naturalWidth).map(i => i.alt || i.src.slice(0, 60)),
    ids: all('[id]').map(e => e.id), links: all('a[href]').filter(a => a.getAttribute('href')).map(a => a.href),
    side: all('#quarto-sidebar a.sidebar-link[href]').map(a => a.href),
    toggle: all('.quarto-color-scheme-toggle').length, search: all('#quarto-search input, #quarto-search').length,
    notebook: all('.notebook-links a').map(a => a.href), title: document.title, description: document.querySelector('meta[name=description]')?.content,
    icon: document.querySelector('link[rel~=icon]')?.href, card: document.querySelector('meta[property="og:image"]')?.content}
}"""

def formulas(nb):
    "How many formulas the prose of a processed notebook holds, that of its names' entries with it"
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    outputs = [o for c in cells for o in c.get('outputs',[])]
    parts = [c['source'] for c in cells if c['cell_type']=='markdown']
    parts += [o.get('data',{}).get('text/markdown','') for o in outputs]
    prose = '\n\n'.join(map(''.join, parts))
    prose = re.sub(r'```.*?```|`[^`\n]*`', '', prose, flags=re.S)
    return len(re.findall(r'\$\$.+?\$\$|(?<![\\$])\$(?=\S)[^$]+?(?<=\S)\$(?![\d$])', prose, flags=re.S))

def modidx():
    "nbdev's index: (settings, {module: {name: (page#anchor, file)}})"
    code = (root/'tempo/_modidx.py').read_text(encoding='utf-8')
    d = ast.literal_eval(re.search(r'^d = (.*)', code, re.S|re.M)[1])
    return d['settings'], d['syms']

def methods(path):
    "Class.method of what is defined within classes"
    classes = [c for c in ast.parse(path.read_text(encoding='utf-8')).body if isinstance(c, ast.ClassDef)]
    return {f'{c.name}.{f.name}' for c in classes for f in c.body if hasattr(f,'name')}

def entries(syms):
    "Public functions and classes, and methods added by `@patch`, by page"
    res = defaultdict(list)
    for mod,names in syms.items():
        inside = methods(root/(mod.replace('.','/')+'.py'))
        for full,(where,_) in names.items():
            name = full[len(mod)+1:]
            private = any(o.startswith('_') for o in name.split('.'))
            if private or name in inside: continue                                             # a class's entry shows its own methods
            res[where.split('#')[0]].append(name)
    return res

def source_fault(href, name, settings):
    "What is wrong with a link to a name's source: the file and line must hold its definition"
    blob = re.escape(f"{settings['git_url']}/blob/{settings['branch']}/")
    m = re.fullmatch(blob+r'(.+)#L(\d+)', href)
    if not m or not (root/m[1]).exists(): return f'{href} is no file of this repository'
    first = int(m[2])-1
    lines = (root/m[1]).read_text(encoding='utf-8').splitlines()[first:first+6]                # decorators come first
    definition = re.compile(rf"\s*(async )?(def|class) {name.split('.')[-1]}\b")
    if not any(map(definition.match, lines)): return f'{href} does not define {name}'

class Quiet(SimpleHTTPRequestHandler):
    "The folder as GitHub Pages serves it: below the site's path too, and with 404.html where there is no file"
    base = ''
    def log_message(self, *args): pass

    def translate_path(self, path):
        inside = path[len(self.base):] if self.base and path.startswith(self.base+'/') else path
        return super().translate_path(inside)

    def send_error(self, code, *args, **kw):
        page = Path(self.directory)/'404.html'
        if code!=404 or not page.is_file(): return super().send_error(code, *args, **kw)
        text = page.read_bytes()
        self.send_response(404)
        self.send_header('Content-Type', 'text/html; charset=utf-8')
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

class Faults:
    "What is wrong, page by page, each fault once; `seen` is what every page said of itself"
    def __init__(self): self.found, self.seen, self.now = [], {}, ''

    def add(self, page, what):
        if (page,what) not in self.found: self.found.append((page,what))

    def here(self, what): self.add(self.now, what)

    def watch(self, page, home):
        "Listen to what a page of the browser complains of, and whom it asks"
        def failed(r):
            if 'ERR_ABORTED' not in (r.failure or ''): self.here(f'request failed: {r.url[:120]} ({r.failure})')      # aborted: the next page came first
        def asked(r):
            if not r.url.startswith((home,'data:','blob:')): self.here(f'asks another host: {r.url[:120]}')
        page.on('console', lambda m: m.type=='error' and self.here(f'console: {m.text}'))
        page.on('pageerror', lambda e: self.here(f'script: {e}'))
        page.on('requestfailed', failed)
        page.on('response', lambda r: r.status>=400 and self.here(f'request failed: {r.url} ({r.status})'))
        page.on('request', asked)
        return page

def try_dark(desk, faults):
    "The switch between light and dark changes the page's colour"
    colour = 'getComputedStyle(document.body).backgroundColor'
    before = desk.evaluate(colour)
    desk.locator('.quarto-color-scheme-toggle:visible').first.click(timeout=30_000)
    try: desk.wait_for_function(f'c => {colour} != c', arg=before, timeout=30_000)
    except Exception: faults.here(f'the switch to dark leaves the page {before}')
    desk.evaluate('localStorage.clear()')

def try_search(desk, faults):
    "The search box finds a name; its links are links of the page"
    desk.locator('#quarto-search input:visible').first.fill(SEARCH)
    hit = desk.locator('#quarto-search a, .aa-Item a').filter(has_text=SEARCH)
    try: hit.first.wait_for(timeout=30_000)
    except Exception: faults.here(f'search finds nothing for {SEARCH}')
    else: faults.seen[faults.now]['links'] += hit.evaluate_all('l => l.map(a => a.href)')

def try_keyboard(desk, faults):
    "The first Tab shows a way past the navigation; Enter opens a section of the sidebar"
    focused = 'document.activeElement.textContent.trim()'
    desk.keyboard.press('Tab')
    if 'Skip' not in desk.evaluate(focused): faults.here(f'the first Tab leads to {desk.evaluate(focused)[:40]!r}')
    desk.keyboard.press('Enter')
    if not desk.evaluate("document.activeElement.matches('main')"): faults.here('the skip link does not lead to the text')
    folded = desk.locator('#quarto-sidebar a.sidebar-link[aria-expanded=false]')
    if not folded.count(): return
    name = folded.first.text_content()
    folded.first.focus()
    desk.keyboard.press('Enter')
    opened = desk.locator('#quarto-sidebar a.sidebar-link[aria-expanded=true]').filter(has_text=name)
    try: opened.first.wait_for(timeout=30_000)
    except Exception: faults.here(f'Enter does not open the section {name!r}')

def axe_source(faults):
    "axe-core as npm fetches it, or None where there is no npm"
    if not shutil.which('npm'): return print('npm is not there: axe-core does not look at the pages')
    with tempfile.TemporaryDirectory() as tmp:
        got = subprocess.run(['npm','install','--no-audit','--no-fund','--prefix',tmp,AXE], capture_output=True, text=True)
        file = Path(tmp)/'node_modules/axe-core/axe.min.js'
        if file.is_file(): return file.read_text(encoding='utf-8')
    faults.add('axe-core', f'npm does not fetch it: {got.stderr.strip()[-200:]}')

def try_axe(browser, home, pages, faults):
    "What axe-core calls serious or critical, on phone and desk, light and dark"
    axe = axe_source(faults)
    if not axe: return
    run = """() => axe.run().then(r => r.violations.filter(v => /serious|critical/.test(v.impact))
        .map(v => `${v.id} (${v.impact}), ${v.nodes.length} times: ${v.nodes[0].html.slice(0, 120)}`))"""
    for size in (PHONE, DESK):
        for scheme in ('light','dark'):
            page = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion='reduce').new_page()
            page.set_default_navigation_timeout(PATIENCE)
            for o in filter(pages.__contains__, LOOKED_AT):
                page.goto(home+o, wait_until='load')
                page.evaluate(axe)
                for what in page.evaluate(run): faults.add(o, f"axe, {scheme}, {size['width']} pixels: {what}")
            page.context.close()

def try_404(browser, home, base, faults):
    "A page that is not there, deep in the site: 404.html with its styles, and a way back"
    page = browser.new_page()
    page.set_default_navigation_timeout(PATIENCE)
    page.goto(f'{home}{base.strip("/")}/no/such/page.html', wait_until='load')
    bare = page.evaluate("[...document.styleSheets].filter(s => !s.media.mediaText.startsWith('not') && !s.cssRules.length).length")
    if bare: faults.add('404.html', f'{bare} styles are missing below a folder')
    page.locator('main a[href]').first.click(timeout=30_000)
    if not page.locator('h1').first.text_content(timeout=30_000).strip()=='Tempo': faults.add('404.html', 'no way back to the front page')
    page.close()

def read_pages(browser, home, pages, faults):
    "Every page on a phone and on a desk"
    phone = faults.watch(browser.new_context(viewport=PHONE, device_scale_factor=1).new_page(), home)
    phone.set_default_navigation_timeout(PATIENCE)
    for o in pages:
        faults.now = o
        phone.goto(home+o, wait_until='load')
        faults.seen[o] = phone.evaluate(READ)
    desk = faults.watch(browser.new_context(viewport=DESK).new_page(), home)
    desk.set_default_navigation_timeout(PATIENCE)
    for o in pages:                                                              # wide screens, and what a reader presses
        faults.now = o
        desk.goto(home+o, wait_until='load')
        r = desk.evaluate(READ)
        if r['wide']: faults.here(f"wider than {DESK['width']} pixels: {r['wide']}")
        for what in cut_off(r, DESK): faults.here(what)
        if not r['toggle']: faults.here('no switch between light and dark')
        if not r['search']: faults.here('no search box')
        if o not in (pages[0], 'index.html', pages[-1]): continue                # a folder and the root: paths differ
        if r['toggle']: try_dark(desk, faults)
        if r['search']: try_search(desk, faults)
        desk.goto(home+o, wait_until='load')
        try_keyboard(desk, faults)

class Links:
    "Where links lead"
    def __init__(self, home, *others): self.starts = *others, home

    def local(self, url):
        "A link's place in the site, or None where it leaves it"
        for start in self.starts:
            if (url+'/').startswith(start): return url[len(start):]

    def target(self, url):
        "Its file and its anchor"
        path, anchor = urldefrag(url)
        path = unquote(urlsplit(path).path)
        if not path or path.endswith('/'): path += 'index.html'
        return path, unquote(anchor)

def broken_links(r, seen, links):
    "Links of a page that lead nowhere"
    for a in r['links']:
        to = links.local(a)
        if to is None: continue
        path, anchor = links.target(to)
        if path not in seen:
            if not (docs/path).is_file(): yield f'broken link: {to}'
        elif anchor and anchor not in seen[path]['ids']: yield f'broken anchor: {to}'

def cut_off(r, size):
    "What a reader cannot see and cannot scroll to"
    where = f"at {size['width']} pixels"
    for c in r['cuts'][:3]: yield f'cut off {where}, with no scroll bar: {c!r}'
    for c in r['cells'][:3]: yield f'a cell of a table is hidden or runs over its neighbour {where}: {c!r}'

def page_faults(o, r, links):
    "What a page says of itself that it should not"
    yield from cut_off(r, PHONE)
    if r['wide']: yield f"wider than a phone of {PHONE['width']} pixels: {r['wide']}"
    for c in r['alt']: yield f'a picture without alternative text: {c!r}'
    for c in r['empty']: yield f'a picture that does not load: {c}'
    for c in r['raw']: yield f'a formula is not rendered: {c!r}'
    if r['broken_math']: yield f"{r['broken_math']} formulas with errors"
    for c in r['markdown']: yield f'a link stands written out: {c!r}'
    if not r['description']: yield 'no description'
    for what in ('icon','card'):
        file = r[what] and links.local(r[what])
        if not file or not (docs/file).is_file(): yield f'no {what}: {r[what]}'
    side = [links.local(a) for a in r['side']]
    if o!='404.html' and not any(links.target(a)[0]==o for a in side if a is not None): yield 'not in the sidebar (nbs/sidebar.yml)'

def notebook_faults(name, page, r, settings):
    "A page that does not show its notebook"
    if r is None:
        yield f'missing: {name} has no page'
        return
    first = ''.join(json.loads((root/'nbs'/name).read_text(encoding='utf-8'))['cells'][0]['source'])
    lost = [line for line in first.splitlines() if line.strip() and not line.startswith(('# ','> '))]
    if lost: yield f'text below the title, in the same cell, is not shown: {lost[0][:60]!r}'
    n = formulas(root/'_proc'/name)
    if r['math']<n: yield f"{r['math']} of {n} formulas are rendered"
    end = f"{settings['branch']}/nbs/{name}"
    for host in ('colab.research.google.com','raw.githubusercontent.com'):
        if not any(urlsplit(a).hostname==host and a.endswith(end) for a in r['notebook']): yield f'no link to its notebook on {host}'

def sources():
    "Paths of all notebooks below nbs/"
    paths = [p.relative_to(root/'nbs') for p in (root/'nbs').rglob('*.ipynb')]
    return [p.as_posix() for p in paths if not any(q.startswith(('.','_')) for q in p.parts)]

def check(some=()):
    "The pages, their faults, and how many names are documented"
    settings, syms = modidx()
    faults = Faults()
    Quiet.base = settings['doc_baseurl'].rstrip('/')
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(docs)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f'http://127.0.0.1:{server.server_port}/'
    links = Links(home, settings['doc_host']+Quiet.base+'/', home+Quiet.base.strip('/')+'/')
    pages = sorted(p.relative_to(docs).as_posix() for p in docs.rglob('*.html') if 'site_libs' not in p.parts)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=os.environ.get('CHROMIUM','/usr/bin/chromium'),
            args=[*FLAGS.split(), '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'])
        read_pages(browser, home, some or pages, faults)
        try_axe(browser, home, some or pages, faults)
        if '404.html' in pages: try_404(browser, home, Quiet.base, faults)
        else: faults.add('404.html', 'missing')
        browser.close()
    server.shutdown()
    if some:                                                                         # what the other pages hold is not known
        for o,r in faults.seen.items():
            for what in page_faults(o, r, links): faults.add(o, what)
        return some, faults.found, 0
    for o,r in faults.seen.items():
        for what in (*page_faults(o, r, links), *broken_links(r, faults.seen, links)): faults.add(o, what)
    for name in sources():
        page = re.sub(r'(^|/)\d+\w?_', r'\1', name).replace('.ipynb','.html')         # nbdev drops the number
        for what in notebook_faults(name, page, faults.seen.get(page), settings): faults.add(page, what)
    wanted = entries(syms)
    for page,names in wanted.items():
        have = faults.seen.get(page, {}).get('documented', {})
        for name in names:
            bad = source_fault(have[name], name, settings) if name in have else f'{name} has no entry with a link to its source'
            if bad: faults.add(page, bad)
    return pages, faults.found, sum(map(len, wanted.values()))

if __name__=='__main__':
    pages, faults, names = check(sys.argv[2:])
    for page,what in faults: print(f'{page}: {what}')
    print(f'{len(pages)} pages, {names} names, {len(faults)} faults')
    sys.exit(bool(faults) or not pages)
