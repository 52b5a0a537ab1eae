"""What `others.py` runs in LightlyTrain's own environment: EfficientNet-Lite0 from given weights, by LightlyTrain's Python.

    python bench/lightly_lite0.py START.pth '{"out": …, "data": …, "method": "simclr", …}'

LightlyTrain's command line takes timm's networks by name, but not this one. Version 0.18.0 takes the 320 channels of its
last stage, announces the 1280 of its features, and ends in `mat1 and mat2 shapes cannot be multiplied (64x320 and
1280x2048)`. Its documentation says to wrap such a network as a custom model, and that only Python takes one.
"""
import json, sys
import lightly_train, timm, torch

class Lite0(torch.nn.Module):
    "EfficientNet-Lite0 with the methods that LightlyTrain asks of a custom model"
    def __init__(self, start):
        super().__init__()
        self.net = timm.create_model('tf_efficientnet_lite0', num_classes=0)
        self.net.load_state_dict(torch.load(start, weights_only=True))

    def get_model(self): return self.net
    def feature_dim(self): return self.net.num_features
    def forward_features(self, x): return dict(features=self.net.forward_features(x))
    def forward_pool(self, x): return dict(pooled_features=x['features'].mean((2,3), keepdim=True))

if __name__=='__main__':
    start, how = sys.argv[1:]
    lightly_train.pretrain(model=Lite0(start), **json.loads(how))
