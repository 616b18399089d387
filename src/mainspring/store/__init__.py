"""Durable history: which runs there were, which states they went through, what they logged.

``protocol``    what a run store does; every backend keeps it, one conformance suite checks it
``addresses``   from ``MAINSPRING_DATABASE_URL`` to an open store
``sqlite``      the default backend, one file
``owners``      which process a run belongs to, and whether that process is alive
``migrations``  the schema, as numbered ``.sql`` files
"""
