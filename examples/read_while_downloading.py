"""Read the end of a file first, then all of it in order, while it downloads: no read waits for more than its own bytes.

python examples/read_while_downloading.py URL
"""

import hashlib
import os
import sys
import time

import p2pstore

began = time.monotonic()
with p2pstore.open(sys.argv[1]) as file:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 16))
    print(f"the last bytes after {time.monotonic() - began:.3f} s:", file.read().hex())
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
print(f"all {size} bytes after {time.monotonic() - began:.3f} s: sha256:{digest.hexdigest()}")
