"""What jobs import: ask the agent on this node. Knows the vocabulary and the frames, nothing of the agent.

`sync.py` is `Client`, `aio.py` is `AsyncClient`; both stand on `wishes.py` (arguments), `got.py` (what comes back), `deliver.py`
(from a descriptor to the caller's own file), `files.py` (files that are read while they download).
"""
