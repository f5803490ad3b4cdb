"""Get several files at once under asyncio; read the first one as an aiofiles handle.

python examples/async_client.py URL...
"""

import asyncio
import sys

from p2pstore import AsyncClient, P2PStoreError


async def main(urls: list[str]) -> int:
    """Returns an exit code."""
    async with AsyncClient() as client:
        results = await asyncio.gather(*(client.fetch(url) for url in urls), return_exceptions=True)
        for url, got in zip(urls, results, strict=True):
            if isinstance(got, BaseException):
                print(f"{url}: {got}", file=sys.stderr)
            else:
                with got:
                    print(f"{url}: {got.size} bytes, {got.bytes['origin']} of them from the origin")
        async with client.open(urls[0]) as file:
            print("it begins with", (await file.read(16)).hex())
    return 9 if any(isinstance(got, P2PStoreError) for got in results) else 0


sys.exit(asyncio.run(main(sys.argv[1:])))
