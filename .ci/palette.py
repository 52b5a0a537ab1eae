"""Stored plots with 128 colours, about a third of the bytes: for a notebook that is larger than .ci/notebooks.py lets it be.

Pictures of video need more colours, and are JPEG instead: `set_matplotlib_formats('jpeg', …)` in the notebook's hidden first cell.

`python .ci/palette.py NOTEBOOK ...`"""
import base64, io, sys
import nbformat
from PIL import Image

def few(png):
    "A PNG picture with a palette, or as it was where that is no smaller"
    raw = base64.b64decode(png)
    picture = Image.open(io.BytesIO(raw)).convert('RGB')
    out = io.BytesIO()
    picture.quantize(128, dither=Image.Dither.NONE).save(out, 'png', optimize=True)
    return base64.b64encode(out.getvalue()).decode() if out.tell()<len(raw) else png

def main(paths):
    "Rewrite the notebooks; 1 where none is named"
    for path in paths:
        nb = nbformat.read(path, as_version=4)
        outputs = [o for c in nb.cells for o in c.get('outputs', [])]
        drawn = [o.data for o in outputs if 'image/png' in o.get('data', {})]
        for data in drawn: data['image/png'] = few(data['image/png'])
        nbformat.write(nb, path)
    return int(not paths)

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
