"""What the task engine and the flow engine share.

- ``subject``, ``portability``, ``places``: the function of a task or flow with its name, signature and policy; how it
  travels, and where another process finds it
- ``drivers``: carrying out what the core asks for, sync and async alike
- ``recorded``: a run that an engine creates, names, moves from state to state and records
- ``task_runs``, ``flow_runs``: what is added for runs of tasks and of flows
- ``keeping``: how a task or flow wants its results kept
- ``resumable``, ``steps``, ``subflows``: flow runs that are gone on with, and what tells their steps from one another
- ``scopes``, ``suspension``: the blocks around a run and around each attempt; stepping out of them for a generator
- ``inputs``, ``mapping``: upstream runs waited for and parameters resolved; the arguments of a map, split
- ``submissions``, ``workers``, ``background``: submitted runs on their way to a thread; the threads; flow runs on some
- ``bounded``: a run and what bounds it; ``deadlines``: the thread that knows what is due
- ``overdue``: attempts that do not end at their deadline; ``stopping``: telling runs to stop
- ``timeouts``, ``watchers``, ``signals``: time limits, and what ends a block at its deadline; SIGTERM while a flow runs
- ``loading``: finding a task or flow where it was defined
- ``tracebacks``: exceptions that show the user's code and not ours
- ``isolation``: calling the function of a task in a process that can be killed
"""
