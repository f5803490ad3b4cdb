"""The door for the jobs on this node: a unix socket, MessagePack frames, descriptors (docs/reference/protocol.md).

`server.py` accepts and counts, `connection.py` serves one connection, `outbox.py` is what waits to be sent, `verbs.py` says which verb is
which method of the agent, `identity.py` who is at the other end, `listening.py` how the socket file comes to be.
"""
