"""Does the video help to find hands? The real run behind the curves of 06_segmentation, and what a step costs.

    python bench/segment.py [--data ../shared/data] [--models /tmp/models] [--only hand,letters,cost] [--start
        imagenet,tempo] [--out results/segmentation.jsonl]

`hand` and `letters` train detectron2's Mask R-CNN (small configuration, EfficientNet-Lite0) on the 120 masks of
`asl24`, all classes as one and the 24 letters, from ImageNet's weights and from Tempo's. Run k of three starts Tempo
from its k-th training on `asl24_video/clips` (`bench/labels.py --only train --seeds 42,1,2` makes them), so that the
spread is that of both trainings. A row for each start. `cost` puts a step of detectron2 beside one of torchvision's
Mask R-CNN on the same backbone, pictures and numbers: a row that `bench/run` keeps. Two processes with one thread each
(`OMP_NUM_THREADS=1`, one `--start` each) are faster on two cores than one with two.
"""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import argparse, importlib, tempfile, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from common import Results, rounds, seconds
from tempo.backbones import LITE0, create_backbone
from tempo.coco import masks_to_coco, read_coco
from tempo.detectron import detectron2_config
from tempo.pretrain import keep_memory
from tempo.segmentation import CocoBatches, coco_files, torchvision_mask_rcnn, train_segmentation

TRAININGS = (42,1,2)
RUNS = dict(hand=dict(iters=200, every=25, classes='hand'), letters=dict(iters=600, every=100))

def curve(args, which, start):
    "Three runs from one start, as one curve"
    path = lambda s: 'imagenet' if start=='imagenet' else args.models/f'tempo-clips-{s}.safetensors'
    parts = [train_segmentation(path(s), args.data/'asl24', config='small', seeds=[k], arch=LITE0, out=args.runs/which/start, resume=True, name=start, **RUNS[which]) for k,s in enumerate(TRAININGS)]
    c = parts[0]
    c.bbox, c.segm = (np.concatenate([p.at(k) for p in parts]) for k in ('bbox','segm'))
    c.info |= dict(seeds=list(range(len(parts))), seconds=[p.info['seconds'][0] for p in parts], starts=[p.info['start'] for p in parts], of=which)
    if start!='imagenet': c.info['trainings'] = list(TRAININGS)
    return c

def cost(args):
    "A step of either engine: forward, losses, backward, update"
    b, tmp = create_backbone(LITE0), Path(tempfile.mkdtemp())
    train, _ = coco_files(args.data/'asl24', tmp)
    cats = len(read_coco(train)['categories'])
    cfg = detectron2_config(b, cats, small=True)
    structures = importlib.import_module('detectron2.structures')
    models = dict(detectron2=importlib.import_module('detectron2.modeling').build_model(cfg).train(), torchvision=torchvision_mask_rcnn(b, cats, small=True).train())
    opts = {k: torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=1e-4, momentum=.9) for k,m in models.items()}
    batches, at = CocoBatches(train, 40, 4), dict.fromkeys(models, 0)
    def small(x, t): # both get pictures of 128 pixels: resizing is not what is compared
        x = torch.nn.functional.interpolate(x[None], (128,128))[0]; m = torch.nn.functional.interpolate(t['masks'][None], (128,128))[0]
        return x, dict(t, masks=m, boxes=t['boxes']/2)
    def d2(x, t):
        i = structures.Instances((128,128)); i.gt_boxes, i.gt_classes, i.gt_masks = structures.Boxes(t['boxes']), t['labels']-1, structures.BitMasks(t['masks'].bool())
        return dict(image=255*x, instances=i)
    def step(k):
        xs, ts, _ = batches[at[k]]; at[k] += 1
        xs, ts = zip(*(small(x,t) for x,t in zip(xs,ts)))
        def go():
            losses = models[k]([d2(x,t) for x,t in zip(xs,ts)]) if k=='detectron2' else models[k](list(xs), list(ts))
            opts[k].zero_grad(); sum(losses.values()).backward(); opts[k].step()
        return seconds(go)
    with importlib.import_module('detectron2.utils.events').EventStorage(): r = rounds({k: (lambda k=k: step(k)) for k in models}, 20)
    res = Results(args.speed, 'segment', arch=LITE0, size=128, bs=4, threads=torch.get_num_threads())
    res.add('step of the small Mask R-CNN', 's', r['detectron2'], r['torchvision'], 'torchvision', r['detectron2']/r['torchvision'])
    res.show()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, default=Path('../shared/data')); p.add_argument('--models', type=Path, default=Path('/tmp/models')); p.add_argument('--runs', type=Path, default=Path('/tmp/segmentation'))
    p.add_argument('--only', default='hand,letters,cost'); p.add_argument('--start', default='imagenet,tempo'); p.add_argument('--out', default='results/segmentation.jsonl'); p.add_argument('--speed', help='a .jsonl file to append the row of `cost` to; without it, it is only shown')
    args = p.parse_args()
    keep_memory()
    for which in args.only.split(','):
        if which=='cost': cost(args); continue
        for start in args.start.split(','):
            c = curve(args, which, start)
            c.save(args.out, data='../shared/data/asl24'); print(which, c, flush=True)

if __name__=='__main__': main()
