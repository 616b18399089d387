"""Task runners for clusters that other libraries keep: what those for Dask and Ray have in common.

- ``runner``: the task runner; a subclass starts a cluster or connects to one
- ``protocol``: what a cluster is for it
- ``dispatch``: submitted runs on their way to the cluster, several of them together if they are short (``pace``);
  ``lines`` is where they are before
- ``assignments``: such a run, until its promise is settled; ``settling`` is what becomes of it
- ``inputs``: its arguments, of which some are on the cluster already; ``values`` are results that have stayed there
- ``deposits``: large arguments, which go to the cluster once
- ``delays``: what keeps runs from beginning; runs that nobody waits for any more
- ``parcels``: what goes to a worker and comes back
- ``workplace``: what the worker does with it; ``hearing`` collects what others listen to
- ``reach``, ``sessions``: whether a worker reaches the run store, and whether the runner still waits

Where a worker does not reach the run store, runs are made in the process of the runner, and only their functions
called over there:

- ``homebound``: such runs; ``remote_calls`` is what their engines call instead of the functions
- ``messengers``: these calls on their way to the cluster; ``errands``: what goes to a worker and comes back
- ``outposts``: what the worker does with it; ``diaries``: what is recorded there meanwhile, and written at home
"""
