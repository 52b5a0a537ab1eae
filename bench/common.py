"What the benchmarks share: the command line, rounds side by side, ratios with their spread, rows and a table."
import argparse, json, os, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from tempo.rows import add_row

def parser(doc, **defaults):
    "A command line that prints `doc` as its help; `defaults` are options with their default values, paths where these are paths"
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name,default in defaults.items():
        kind = Path if isinstance(default, Path) else type(default)
        p.add_argument(f'--{name}', type=kind, default=default)
    return p

def rounds(
    contenders, # {name: function without arguments that returns a figure}
    repeats, # Rounds that count
    seed=0, # Order within the rounds
): # {name: (repeats,) figures}
    "Call every contender once a round, in random order; a first round warms up and is thrown away"
    rng = np.random.default_rng(seed)
    out = {name: [] for name in contenders}
    for _ in range(repeats+1):
        for name in rng.permutation(list(contenders)): out[name].append(contenders[name]())
    return {name: np.array(figures[1:]) for name,figures in out.items()}

def seconds(f, *args):
    "How long one call takes"
    t = time.perf_counter()
    f(*args)
    return time.perf_counter()-t

def child(script, job, began, jobs):
    "One job of `script` in a process of its own, one of `jobs` at a time; whether it failed"
    env = os.environ | dict(OMP_NUM_THREADS=str(max(1, (os.cpu_count() or 1)//jobs)))
    cmd = [sys.executable, '-W', 'ignore', script, *sys.argv[1:], '--jobs', str(jobs), '--one', json.dumps(job)]
    p = subprocess.run(cmd, env=env, capture_output=True, text=True)
    said = p.stderr[-2000:] if p.returncode else 'done'
    print(f'{time.perf_counter()-began:6.0f} s', *job, said, flush=True)
    return p.returncode!=0

def side_by_side(script, todo, jobs):
    "The jobs of a script that takes `--one`, `jobs` at a time on their share of the cores; how many failed"
    began = time.perf_counter()
    with ThreadPoolExecutor(jobs) as ex: return sum(ex.map(lambda job: child(script, job, began, jobs), todo))

def named(only, domains, what, known):
    "(domain, one of `known`) of what a command line names, such as 'streams:auto,clips'; a domain alone means all of them"
    which = []
    for word in only.split(','):
        domain, _, one = word.partition(':')
        which += [(domain, o) for o in ([one] if one else known)]
    there = f"Domains: {', '.join(domains)}. {what.capitalize()}s: {', '.join(known)}"
    for domain,one in which:
        if domain not in domains or one not in known: sys.exit(f'--only: {domain}:{one} is no domain and {what}. {there}')
    return which

def accuracies(r):
    "Labels per class → accuracies of the draws, of an `EvalResult`"
    return {str(n): a.round(4).tolist() for n,a in zip(r.samples_pc, r.accs)}

def figure(x):
    "A number for people: three digits that count"
    return f'{x:,.0f}' if abs(x)>=100 else f'{x:.3g}'

def judge(median, least, most):
    "The target in words, and whether it is met; None where there is none"
    if most is not None: return f'at most {most}', bool(median<=most)
    if least is not None: return f'at least {least}', bool(median>=least)
    return '', None

def middle(figures):
    "The median, or None where nothing was measured"
    return None if figures is None else float(np.median(figures))

class Results:
    "Comparisons as they come: a JSON line each where `out` names a file, and a table at the end"
    def __init__(self, out, bench, **settings):
        self.out, self.bench, self.settings = out, bench, settings
        self.rows = []

    def add(self, what, unit, tempo, other, name, ratio, *, least=None, most=None, **settings):
        "`tempo` and `other` are figures of the same rounds, or None; `ratio` is what the target `least` or `most` is about"
        ratio = np.atleast_1d(ratio)
        median = float(np.median(ratio))
        target, met = judge(median, least, most)
        row = dict(bench=self.bench, what=what, value=middle(tempo), unit=unit, against=name,
            other=middle(other), ratio=round(median,4))
        row['ratio_spread'] = [round(float(ratio.min()),4), round(float(ratio.max()),4)]
        row |= dict(repeats=len(ratio), target=target, met=met, settings={**self.settings, **settings})
        run = os.environ.get('TEMPO_BENCH_RUN')                # `bench/run` says which go this belongs to
        if run: row['run'] = run
        self.rows.append(add_row(self.out, **row) if self.out else row)

    def show(self):
        "Print the table"
        print(as_table(self.rows))

def as_line(row):
    "The cells of a row, as people read them"
    shown = lambda x: '' if x is None else f"{figure(x)} {row['unit']}"
    spread = '–'.join(map(figure, row['ratio_spread']))
    met = {None: '', True: 'yes', False: 'NO'}[row['met']]
    return row['what'], shown(row['value']), f"{row['against']} {shown(row['other'])}", f"{figure(row['ratio'])} ({spread})", row['target'], met

def as_table(rows):
    "Rows as people read them"
    table = [('what', 'tempo', 'other', 'ratio (spread)', 'target', 'met')]
    table += [as_line(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = [' | '.join(cell.ljust(w) for cell,w in zip(row, widths)) for row in table]
    return '\n'.join(line.rstrip() for line in lines)
