"""Begin to bring the files of the next step, work meanwhile, and go on when they are there.

python examples/prefetch_and_wait.py URL...
"""

import sys

import p2pstore

urls = sys.argv[1:]
begun = p2pstore.prefetch(urls)
print(f"{begun['cached']} there already, {begun['accepted']} on their way")

# ... the present step's work goes here ...

failed = 0
for outcome in p2pstore.wait(urls, timeout_s=600):
    if outcome["error"] is None:
        print("ready:", outcome["url"], p2pstore.get(outcome["url"]))
    else:
        failed += 1
        print("failed:", outcome["url"], outcome["error"], file=sys.stderr)
sys.exit(9 if failed else 0)
