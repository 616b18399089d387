"""Other processes that work for this one: started when needed, kept, given calls, and ended.

- ``channel``: what goes between, as frames over a pair of sockets
- ``children``: such a process as its parent sees it; ``leashes`` says what ends the wait for its answer
- ``crews``: all that belong together, up to a limit, replaced when they die
- ``serving``: what the process itself does: calls of functions that it is sent, whatever these do
- ``portability``, ``contexts``: what can be taken along, with words for what cannot; what is active, packed
- ``relays``: how those who listen here hear of what happens there
- ``main_program``: the main program, which each of these processes imports
- ``flow_files``: how other processes import what flow files define
"""
