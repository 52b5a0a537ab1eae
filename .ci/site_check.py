"""Loads every page of the rendered site in headless Chromium, from a server on this machine and with no other host in reach, on a
phone (390 pixels) and on a desk (1280), and lists what a reader would stumble over: `page: fault`. Exits with 1 where there is any.
`python .ci/site_check.py [FOLDER]`; the browser is $CHROMIUM or /usr/bin/chromium."""
import ast, json, os, re, sys, threading
from collections import defaultdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from playwright.sync_api import sync_playwright

root = Path(__file__).resolve().parent.parent
docs = Path(sys.argv[1] if len(sys.argv)>1 else root/'_proc/_docs').resolve()
FLAGS = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'
PHONE, DESK = dict(width=390, height=844), dict(width=1280, height=900)
SEARCH = 'train_tempo'

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
  const over = all('main, main :is(p, li, div, pre, table, img, svg, math, a, h1, h2, h3)').filter(e => e.getBoundingClientRect().right > innerWidth+1 && !scrolls(e))
  const documented = {}   // a name's entry: its heading, and above it nbdev's link to the source
  for (const a of all('main a')) if (a.textContent == 'source') {
    let e = a.closest('p')
    while (e && !/^H[1-6]$/.test(e.tagName)) e = e.nextElementSibling
    if (e) documented[e.textContent.trim()] = a.href
  }
  return {
    raw, markdown, documented, wide: (wide || over.length > 0) && [document.documentElement.scrollWidth, ...over.slice(-1).map(e => e.outerHTML.slice(0, 100))],
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
    prose = [c['source'] for c in cells if c['cell_type']=='markdown'] + [o.get('data',{}).get('text/markdown','') for c in cells for o in c.get('outputs',[])]
    prose = '\n\n'.join(map(''.join, prose))
    prose = re.sub(r'```.*?```|`[^`\n]*`', '', prose, flags=re.S)
    return len(re.findall(r'\$\$.+?\$\$|(?<![\\$])\$(?=\S)[^$]+?(?<=\S)\$(?![\d$])', prose, flags=re.S))

def modidx():
    "nbdev's index: (settings, {module: {name: (page#anchor, file)}})"
    d = ast.literal_eval(re.search(r'^d = (.*)', (root/'tempo/_modidx.py').read_text(encoding='utf-8'), re.S|re.M)[1])
    return d['settings'], d['syms']

def entries(syms):
    "Public functions and classes, and methods added by `@patch`, by page"
    res = defaultdict(list)
    for mod,names in syms.items():
        code = (root/(mod.replace('.','/')+'.py')).read_text(encoding='utf-8')
        inside = {f'{c.name}.{f.name}' for c in ast.parse(code).body if isinstance(c, ast.ClassDef) for f in c.body if hasattr(f,'name')}
        for full,(where,_) in names.items():
            name = full[len(mod)+1:]
            if any(o.startswith('_') for o in name.split('.')) or name in inside: continue     # a class's entry shows its own methods
            res[where.split('#')[0]].append(name)
    return res

def source_fault(href, name, settings):
    "What is wrong with a link to a name's source: the file and line must hold its definition"
    m = re.fullmatch(re.escape(f"{settings['git_url']}/blob/{settings['branch']}/")+r'(.+)#L(\d+)', href)
    if not m or not (root/m[1]).exists(): return f'{href} is no file of this repository'
    lines = (root/m[1]).read_text(encoding='utf-8').splitlines()[int(m[2])-1:][:6]             # decorators come first
    if not any(re.match(rf"\s*(async )?(def|class) {name.split('.')[-1]}\b", o) for o in lines): return f'{href} does not define {name}'

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

def check():
    settings, syms = modidx()
    published = settings['doc_host']+settings['doc_baseurl']+'/'
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(docs)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f'http://127.0.0.1:{server.server_port}/'
    pages = sorted(p.relative_to(docs).as_posix() for p in docs.rglob('*.html') if 'site_libs' not in p.parts)
    faults, seen, now = [], {}, ['']
    def fault(page, what):
        if (page,what) not in faults: faults.append((page,what))
    def watch(page):
        page.on('console', lambda m: m.type=='error' and fault(now[0], f'console: {m.text}'))
        page.on('pageerror', lambda e: fault(now[0], f'script: {e}'))
        page.on('requestfailed', lambda r: 'ERR_ABORTED' in (r.failure or '') or fault(now[0],   # aborted: the next page came first
             f'request failed: {r.url[:120]} ({r.failure})'))
        page.on('response', lambda r: r.status>=400 and fault(now[0], f'request failed: {r.url} ({r.status})'))
        page.on('request', lambda r: r.url.startswith((home,'data:','blob:')) or fault(now[0], f'asks another host: {r.url[:120]}'))
        return page
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=os.environ.get('CHROMIUM','/usr/bin/chromium'),
            args=FLAGS.split()+['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'])
        phone = watch(browser.new_context(viewport=PHONE, device_scale_factor=1).new_page())
        for o in pages:
            now[0] = o
            phone.goto(home+o, wait_until='load')
            seen[o] = phone.evaluate(READ)
        desk = watch(browser.new_context(viewport=DESK).new_page())
        for o in pages:                                                              # wide screens, and what a reader presses
            now[0] = o
            desk.goto(home+o, wait_until='load')
            r = desk.evaluate(READ)
            if r['wide']: fault(o, f"wider than {DESK['width']} pixels: {r['wide']}")
            for what in ('toggle','search'):
                if not r[what]: fault(o, f"no {dict(toggle='switch between light and dark', search='search box')[what]}")
            if o not in (pages[0], 'index.html', pages[-1]): continue                # a folder and the root: paths differ
            colour = lambda: desk.evaluate('getComputedStyle(document.body).backgroundColor')
            before = colour()
            if r['toggle']:
                desk.locator('.quarto-color-scheme-toggle:visible').first.click(timeout=3000)
                try: desk.wait_for_function('c => getComputedStyle(document.body).backgroundColor != c', arg=before, timeout=3000)
                except Exception: fault(o, f'the switch to dark leaves the page {before}')
                desk.evaluate('localStorage.clear()')
            if r['search']:
                desk.locator('#quarto-search input:visible').first.fill(SEARCH)
                hit = desk.locator('#quarto-search a, .aa-Item a').filter(has_text=SEARCH)
                try: hit.first.wait_for(timeout=4000)
                except Exception: fault(o, f'search finds nothing for {SEARCH}')
                else: seen[o]['links'] += [a for a in hit.evaluate_all('l => l.map(a => a.href)')]
        browser.close()
    server.shutdown()

    def local(url):
        "A link's place in the site, or None where it leaves it"
        for start in (home, published):
            if (url+'/').startswith(start): return url[len(start):]
    def target(url):
        path,anchor = urldefrag(url)
        path = unquote(urlsplit(path).path)
        return (path+'index.html' if not path or path.endswith('/') else path), unquote(anchor)
    wanted = entries(syms)
    for o,r in seen.items():
        if r['wide']: fault(o, f"wider than a phone of {PHONE['width']} pixels: {r['wide']}")
        for c in r['alt']: fault(o, f'a picture without alternative text: {c!r}')
        for c in r['empty']: fault(o, f'a picture that does not load: {c}')
        for c in r['raw']: fault(o, f'a formula is not rendered: {c!r}')
        if r['broken_math']: fault(o, f"{r['broken_math']} formulas with errors")
        for c in r['markdown']: fault(o, f'a link stands written out: {c!r}')
        for a in r['links']:
            if (to := local(a)) is None: continue
            path,anchor = target(to)
            if path not in seen:
                if not (docs/path).is_file(): fault(o, f'broken link: {to}')
            elif anchor and anchor not in seen[path]['ids']: fault(o, f'broken anchor: {to}')
        if not r['description']: fault(o, 'no description')
        for what in ('icon','card'):
            if not r[what] or local(r[what]) is None or not (docs/local(r[what])).is_file(): fault(o, f'no {what}: {r[what]}')
        if not any(target(local(a))[0]==o for a in r['side'] if local(a) is not None): fault(o, 'not in the sidebar (nbs/sidebar.yml)')
    stems = [p.relative_to(root/'nbs').as_posix() for p in (root/'nbs').rglob('*.ipynb') if not any(q.startswith(('.','_')) for q in p.relative_to(root/'nbs').parts)]
    for name in stems:
        page = re.sub(r'(^|/)\d+\w?_', r'\1', name).replace('.ipynb','.html')         # nbdev drops the number
        if page not in seen: fault(page, f'missing: {name} has no page'); continue
        n = formulas(root/'_proc'/name)
        if seen[page]['math'] < n: fault(page, f"{seen[page]['math']} of {n} formulas are rendered")
        for host in ('colab.research.google.com','raw.githubusercontent.com'):
            if not any(urlsplit(a).hostname==host and a.endswith(f"{settings['branch']}/nbs/{name}") for a in seen[page]['notebook']): fault(page, f'no link to its notebook on {host}')
    for page,names in wanted.items():
        have = seen.get(page, {}).get('documented', {})
        for name in names:
            if name not in have: fault(page, f'{name} has no entry with a link to its source')
            elif (bad := source_fault(have[name], name, settings)): fault(page, bad)
    return pages, faults, sum(map(len, wanted.values()))

pages, faults, names = check()
for page,what in faults: print(f'{page}: {what}')
print(f'{len(pages)} pages, {names} names, {len(faults)} faults')
sys.exit(bool(faults) or not pages)
