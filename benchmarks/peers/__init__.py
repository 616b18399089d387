"""What others take for the same work: ``python -m benchmarks.peers``, or ``make bench-peers``.

``works``       what is to be done, and the process that does it; nothing but the standard library
``comparison``  the one table: the peers by turns, and how many times as long as mainspring they take
``environments``  processes of peers, with a time limit

One module for each peer, which its own interpreter runs: ``ours`` for mainspring, ``prefect``, ``dbos``, ``dask``,
``ray``, ``huey``, ``joblib``, ``hamilton``. What they are asked to do is what their documentation shows.
"""
