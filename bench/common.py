"What the benchmarks share: rounds side by side, ratios with their spread, rows and a table."
import os, time
import numpy as np
from tempo.report import add_row

def rounds(
    contenders, # {name: function without arguments that returns a figure}
    repeats, # Rounds that count
    seed=0, # Order within the rounds
): # {name: (repeats,) figures}
    "Call every contender once a round, in random order; a first round warms up and is thrown away"
    rng, out = np.random.default_rng(seed), {k:[] for k in contenders}
    for _ in range(repeats+1):
        for k in rng.permutation(list(contenders)): out[k].append(contenders[k]())
    return {k: np.array(v[1:]) for k,v in out.items()}

def seconds(f, *args):
    "How long one call takes"
    t = time.perf_counter(); f(*args)
    return time.perf_counter()-t

def figure(x):
    "A number for people: three digits that count"
    return f'{x:,.0f}' if abs(x)>=100 else f'{x:.3g}'

class Results:
    "Comparisons as they come: a JSON line each where `out` names a file, and a table at the end"
    def __init__(self, out, bench, **settings): self.out, self.bench, self.settings, self.rows = out, bench, settings, []

    def add(self, what, unit, tempo, other, name, ratio, *, least=None, most=None, **settings):
        "`tempo` and `other` are figures of the same rounds, or None; `ratio` is what the target `least` or `most` is about"
        r = np.atleast_1d(ratio); med, lo, hi = np.median(r), r.min(), r.max()
        met = None if least is None and most is None else bool(med>=least if most is None else med<=most)
        target = '' if met is None else f'at least {least}' if most is None else f'at most {most}'
        mid = lambda a: None if a is None else float(np.median(a))
        more = dict(run=run) if (run:=os.environ.get('TEMPO_BENCH_RUN')) else {}                      # `bench/run` says which go this belongs to
        row = dict(bench=self.bench, what=what, value=mid(tempo), unit=unit, against=name, other=mid(other), ratio=round(float(med),4),
                   ratio_spread=[round(float(lo),4), round(float(hi),4)], repeats=len(r), target=target, met=met, settings={**self.settings, **settings}, **more)
        self.rows.append(add_row(self.out, **row) if self.out else row)

    def show(self):
        "Print the table"
        print(as_table(self.rows))

def as_table(rows):
    "Rows as people read them"
    shown = lambda x,unit: '' if x is None else f'{figure(x)} {unit}'
    table = [('what', 'tempo', 'other', 'ratio (spread)', 'target', 'met')]
    for r in rows: table.append((r['what'], shown(r['value'], r['unit']), f"{r['against']} {shown(r['other'], r['unit'])}",
        f"{figure(r['ratio'])} ({'–'.join(map(figure, r['ratio_spread']))})", r['target'], {None:'', True:'yes', False:'NO'}[r['met']]))
    widths = [max(map(len, c)) for c in zip(*table)]
    return '\n'.join(' | '.join(s.ljust(w) for s,w in zip(r, widths)).rstrip() for r in table)
