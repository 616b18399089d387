"""The sans-IO core: everything that is decided about a run, and nothing that is done about it.

``transitions``  which state may follow which, the counters and times that a state changes, retry delays
``outcomes``     what user code did, as values: it returned, raised, timed out, or could not begin
``effects``      what the core asks its driver to do: enter a state, run hooks, wait
``policy``       the options of a task or flow, resolved once
``lifecycle``    the order of things in the life of a run, as generators that yield effects
``arguments``    binding calls to parameters and calling by parameters, compiled per function
``traverse``     walking and rebuilding nested values

Nothing in here sleeps, logs, stores, reads a clock or calls user code.
"""
