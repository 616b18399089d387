"""Ask many servers at the same time: async tasks in an async flow.

A small server in this process stands for the internet: it is slow, and breaks off every seventh answer. The tasks are
awaited together, retried by themselves, and each has a time limit. The summary goes on as soon as a page is there.

Run it with ``python examples/pages.py``, and look at what was retried: ``mainspring runs show ID``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mainspring import flow, task
from mainspring.futures import as_completed

PAGES = 24


@task(retries=3, retry_delay_seconds=0.01, timeout_seconds=5, task_run_name="fetch {page}")
async def fetch(port: int, page: str) -> str:
    """The body of a page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {page} HTTP/1.0\r\n\r\n".encode())
        answer = (await reader.read()).decode()
    finally:
        writer.close()
    head, found, body = answer.partition("\r\n\r\n")
    if not found or " 200 " not in head:
        raise ConnectionError(f"{page}: the server broke off")
    return body


@task
def count_words(text: str) -> int:
    """How many words there are: plain work, on a thread, so that the event loop stays free."""
    return len(text.split())


@flow
async def survey(port: int) -> int:
    """Words on all pages."""
    texts = await asyncio.gather(*(fetch(port, f"/{number}") for number in range(PAGES)))
    total = 0
    async for future in as_completed(count_words.map(texts)):
        total += await future
    return total


@asynccontextmanager
async def internet() -> AsyncIterator[int]:
    """A server on a free port of this machine."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        number = asked = asked + 1
        page = (await reader.readline()).split()[1].decode().strip("/")
        await asyncio.sleep(0.05)
        if number % 7:
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"word " * (int(page) + 1))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def main() -> None:
    """Start the server and ask it."""
    async with internet() as port:
        print(f"{await survey(port)} words on {PAGES} pages")


if __name__ == "__main__":
    asyncio.run(main())
