"""Stored figures in a third of the bytes, for a notebook that is larger than .ci/notebooks.py lets it be.

Each PNG becomes the smaller of two: itself with 128 colours, which suits plots, or a JPEG, which suits pictures of video. Where
most figures are such pictures, `set_matplotlib_formats('jpeg', …)` in the notebook's hidden first cell makes them JPEG at once.

`python .ci/palette.py NOTEBOOK ...`"""
import base64, io, sys
import nbformat
from PIL import Image

def encoded(picture, **how):
    "Base64 of a picture in a format"
    out = io.BytesIO()
    picture.save(out, **how)
    return base64.b64encode(out.getvalue()).decode()

def smaller(png):
    "The kind and the text of the smallest way to store a PNG"
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert('RGB')
    few = picture.quantize(128, dither=Image.Dither.NONE)
    ways = [('image/png',png), ('image/png',encoded(few, format='png', optimize=True))]
    ways.append(('image/jpeg',encoded(picture, format='jpeg', quality=85)))
    return min(ways, key=lambda way: len(way[1]))

def main(paths):
    "Rewrite the notebooks; 1 where none is named"
    for path in paths:
        nb = nbformat.read(path, as_version=4)
        outputs = [o for c in nb.cells for o in c.get('outputs', [])]
        for data in [o.data for o in outputs if 'image/png' in o.get('data', {})]:
            kind, text = smaller(data.pop('image/png'))
            data[kind] = text
        nbformat.write(nb, path)
    return int(not paths)

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
