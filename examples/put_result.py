"""Store a job's result under a name; when the call returns it is on disk to stay. Get it back as any file.

python examples/put_result.py NAME
"""

import sys
import tempfile

import p2pstore

name = sys.argv[1]
with tempfile.NamedTemporaryFile() as result:
    result.write(b"step,loss\n1,0.25\n")
    result.flush()
    try:
        stored = p2pstore.put(name, result.name)
    except p2pstore.NameTaken:
        stored = p2pstore.put(name, result.name, replace=True)
print(f"{stored['size']} bytes as put:{name}, version {stored['ver']}")
print("read back:", p2pstore.get(f"put:{name}").read_text().splitlines()[-1])
