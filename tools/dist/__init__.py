"""Builds what users install descry from, and tries it as they would: `make dist` and `make test-dist`.

files      downloads with a hash, archives that are the same each time
locks      lists of pinned files of Debian: sources, and packages of a root
roots      file systems of Debian, and commands in them, without network
paths      the folders below target/dist
inputs     the commit, the crates, ONNX Runtime and the models
stage      the tree that every artefact holds, its licences and its list of parts
artefacts  the archive, the package and the image that are made of it
trials     each artefact in an empty system
"""
