"""Drawing: the internal request, the fair queue, which models are in memory, and the processes that run them.

Nothing outside this package knows that a worker process exists. `worker` and `worker_models` run in that process and
are the only modules of the server that import torch.
"""
