"""What the task engine and the flow engine share.

``drivers``    carrying out what the core asks for, sync and async alike
``recorded``   a run that the engine creates, names, moves from state to state and records
``inputs``     what a run is made from: upstream runs waited for, parameters resolved, inputs noted
``timeouts``   time limits: main thread, worker thread, event loop
``signals``    SIGTERM while a flow runs
"""
