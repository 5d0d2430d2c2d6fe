"""Trains, imports, exports and judges model folders. `tools/models.py` is its command line.

- `data`, `tower`, `cache`, `features`: captions, pictures, and cached features of them
- `net`, `lm`: the networks of the built-in model, and published language models
- `optim`, `train`, `builtin`: training of the built-in model
- `clip`, `clipcap`: published CLIPs and ClipCap checkpoints
- `image_towers`, `mapping`: training of a mapper between an image tower and a language model
- `export`, `int8`, `convs`: graphs, manifests, and rounding to 8-bit integers
- `measure`, `cider`: judging a folder through the descry binary, and the reward of self-critical training
"""
