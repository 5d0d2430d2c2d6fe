"""Trains, imports, exports and judges model folders. `tools/models.py` is its command line.

From data to a folder: `data` and `tower` read captions and pictures, `cache` stores features, `net` and `lm` hold the
networks, `train` and `builtin` make the built-in model, `mapping` trains a mapper for other towers and language models,
`clip` and `clipcap` read published checkpoints, `export`, `int8` and `convs` write graphs, and `measure` judges a
folder through the descry binary.
"""
