"""The functions of the package: the methods of one client that the whole process shares."""

from __future__ import annotations

from p2pstore.client.sync import Client

_client = Client()

get = _client.get
fetch = _client.fetch
get_many = _client.get_many
open = _client.open
put = _client.put
prefetch = _client.prefetch
wait = _client.wait
cancel = _client.cancel
events = _client.events
stat = _client.stat
ls = _client.ls
rm = _client.rm
