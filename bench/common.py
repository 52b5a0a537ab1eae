"What the benchmarks share: rounds side by side, ratios with their spread, rows and a table."
import time
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
    "Comparisons as they come: a JSON line each, and a table at the end"
    def __init__(self, out, bench, **settings): self.out, self.bench, self.settings, self.table = out, bench, settings, []

    def add(self, what, unit, tempo, other, name, ratio, *, least=None, most=None, **settings):
        "`tempo` and `other` are figures of the same rounds, or None; `ratio` is what the target `least` or `most` is about"
        r = np.atleast_1d(ratio); med, lo, hi = np.median(r), r.min(), r.max()
        met = None if least is None and most is None else bool(med>=least if most is None else med<=most)
        target = '' if met is None else f'at least {least}' if most is None else f'at most {most}'
        mid = lambda a: None if a is None else float(np.median(a))
        add_row(self.out, bench=self.bench, what=what, value=mid(tempo), unit=unit, against=name, other=mid(other), ratio=round(float(med),4),
                ratio_spread=[round(float(lo),4), round(float(hi),4)], repeats=len(r), target=target, met=met, settings={**self.settings, **settings})
        shown = lambda a: '' if a is None else f'{figure(mid(a))} {unit}'
        self.table.append((what, shown(tempo), f'{name} {shown(other)}', f'{figure(med)} ({figure(lo)}–{figure(hi)})', target,
                           {None:'', True:'yes', False:'NO'}[met]))

    def show(self):
        "Print the table"
        rows = [('what', 'tempo', 'other', 'ratio (spread)', 'target', 'met'), *self.table]
        widths = [max(len(r[c]) for r in rows) for c in range(len(rows[0]))]
        for r in rows: print(' | '.join(s.ljust(w) for s,w in zip(r, widths)).rstrip())
