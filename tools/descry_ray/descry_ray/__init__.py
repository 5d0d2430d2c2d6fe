"""Runs the descry binary over a list of videos on a Ray cluster, into one archive.

`job` is the driver: it knows which videos are left, which tasks are running, and what is retried. `task` runs on the
nodes and starts the same binary that one machine runs. `simulate` shows what limits such a job on clusters that do not
exist here.
"""
