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
import importlib, tempfile, warnings
from pathlib import Path
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
import numpy as np, torch
from torch.nn.functional import interpolate
from common import Results, parser, rounds, seconds
from tempo.backbones import LITE0, create_backbone
from tempo.coco import read_coco
from tempo.detectron import detectron2_config
from tempo.pretrain import keep_memory
from tempo.segmentation import CocoBatches, coco_files, torchvision_mask_rcnn, train_segmentation

TRAININGS = (42,1,2)
RUNS = dict(hand=dict(iters=200, every=25, classes='hand'), letters=dict(iters=600, every=100))

def one_run(args, which, start, run, training):
    "Run `run` from one start"
    path = 'imagenet' if start=='imagenet' else args.models/f'tempo-clips-{training}.safetensors'
    return train_segmentation(path, args.data/'asl24', config='small', seeds=[run], arch=LITE0, out=args.runs/which/start,
        resume=True, name=start, **RUNS[which])

def curve(args, which, start):
    "Three runs from one start, as one curve"
    parts = [one_run(args, which, start, run, training) for run,training in enumerate(TRAININGS)]
    c = parts[0]
    c.bbox = np.concatenate([p.at('bbox') for p in parts])
    c.segm = np.concatenate([p.at('segm') for p in parts])
    c.info |= dict(seeds=list(range(len(parts))), of=which)
    c.info |= dict(seconds=[p.info['seconds'][0] for p in parts], starts=[p.info['start'] for p in parts])
    if start!='imagenet': c.info['trainings'] = list(TRAININGS)
    return c

def small(picture, target):
    "A picture of 128 pixels and its target: resizing is not what is compared"
    picture = interpolate(picture[None], (128,128))[0]
    masks = interpolate(target['masks'][None], (128,128))[0]
    return picture, dict(target, masks=masks, boxes=target['boxes']/2)

def as_detectron2(picture, target):
    "The same as detectron2 takes it"
    structures = importlib.import_module('detectron2.structures')
    instances = structures.Instances((128,128))
    instances.gt_boxes = structures.Boxes(target['boxes'])
    instances.gt_classes = target['labels']-1
    instances.gt_masks = structures.BitMasks(target['masks'].bool())
    return dict(image=255*picture, instances=instances)

class Stepper:
    "A detector that is timed step by step: forward, losses, backward, update"
    def __init__(self, model, batches, inputs):
        self.model, self.batches, self.inputs = model.train(), batches, inputs
        trained = [p for p in model.parameters() if p.requires_grad]
        self.opt, self.at = torch.optim.SGD(trained, lr=1e-4, momentum=.9), 0

    def step(self, inputs):
        losses = self.model(*inputs)
        self.opt.zero_grad()
        sum(losses.values()).backward()
        self.opt.step()

    def __call__(self):
        pictures, targets, _ = self.batches[self.at]
        self.at += 1
        pairs = [small(*pair) for pair in zip(pictures, targets)]
        return seconds(self.step, self.inputs(pairs))

def cost(args):
    "A step of either engine"
    b, tmp = create_backbone(LITE0), Path(tempfile.mkdtemp())
    train, _ = coco_files(args.data/'asl24', tmp)
    n = len(read_coco(train)['categories'])
    batches = CocoBatches(train, 40, 4)
    build_model = importlib.import_module('detectron2.modeling').build_model
    ours = Stepper(build_model(detectron2_config(b, n, small=True)), batches,
        lambda pairs: [[as_detectron2(*p) for p in pairs]])
    theirs = Stepper(torchvision_mask_rcnn(b, n, small=True), batches,
        lambda pairs: [list(o) for o in zip(*pairs)])
    with importlib.import_module('detectron2.utils.events').EventStorage(): r = rounds(dict(detectron2=ours, torchvision=theirs), 20)
    res = Results(args.speed, 'segment', arch=LITE0, size=128, bs=4, threads=torch.get_num_threads())
    ratio = r['detectron2']/r['torchvision']
    res.add('step of the small Mask R-CNN', 's', r['detectron2'], r['torchvision'], 'torchvision', ratio)
    res.show()

def main():
    p = parser(__doc__, data=Path('../shared/data'), models=Path('/tmp/models'), runs=Path('/tmp/segmentation'), only='hand,letters,cost',
        start='imagenet,tempo', out='results/segmentation.jsonl')
    p.add_argument('--speed', help='a .jsonl file to append the row of `cost` to; without it, it is only shown')
    args = p.parse_args()
    keep_memory()
    for which in args.only.split(','):
        if which=='cost':
            cost(args)
            continue
        for start in args.start.split(','):
            c = curve(args, which, start)
            c.save(args.out, data='../shared/data/asl24')
            print(which, c, flush=True)

if __name__=='__main__': main()
