"""Runs the descry binary over a list of videos on a Ray cluster, into one archive.

`job` is the driver: which videos are left, how many tasks are under way, what is tried again. `task` is what runs on the
nodes: the same binary that one machine runs. `simulate` asks what limits such a job on clusters that nobody has here.
"""
