"""What the task engine and the flow engine share.

``subject``    the function of a task or flow with its name, signature and policy
``drivers``    carrying out what the core asks for, sync and async alike
``recorded``   a run that the engine creates, names, moves from state to state and records
``scopes``     the blocks around a run and around each attempt
``suspension`` stepping out of a run while its generator is suspended
``inputs``     what a run is made from: upstream runs waited for, parameters resolved, inputs noted
``background`` flow runs on threads of their own
``mapping``    splitting the arguments of a map
``submissions``, ``workers``  submitted runs on their way to a thread, and the threads
``timeouts``   time limits: main thread, worker thread, event loop
``tracebacks`` exceptions that show the user's code and not ours
``signals``    SIGTERM while a flow runs
"""
