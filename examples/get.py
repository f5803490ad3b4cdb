"""Get a file and say where its bytes came from.

python examples/get.py URL [OUTPUT] [DIGEST]
"""

import sys

import p2pstore

url, output, digest = (*sys.argv[1:4], None, None)[:3]
try:
    with p2pstore.fetch(str(url), output=output, digest=digest) as got:
        print(got.output or got.path)
        print(f"{got.size} bytes in {got.seconds:.3f} s", got.bytes, got.why, file=sys.stderr)
        for warning in got.warnings:
            print("warning:", warning, file=sys.stderr)
except p2pstore.P2PStoreError as error:
    print(f"{error.code}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
