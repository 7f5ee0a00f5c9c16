"""Seeing the body of an HTTP response that somebody else reads, of whichever HTTP library."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

__all__ = ["watch_body"]

Seen = Callable[[bytes, BaseException | None], None]


def watch_body(response: Any, seen: Seen) -> None:
    """Call ``seen`` with what was read of the body when it ends, breaks or is closed, and when the response is dropped unread.

    It may be called more than once; the first call tells. The response stays the object that it is: four of its methods are covered
    on the instance. It must not be read yet.
    """
    watch = _Watch(response, seen)
    response.iter_bytes, response.aiter_bytes = watch.iter_bytes, watch.aiter_bytes
    response.close, response.aclose = watch.close, watch.aclose
    weakref.finalize(response, watch.body.end).atexit = False


class _Body:
    """What was read so far. It does not hold the response, so that one nobody has can go."""

    def __init__(self, seen: Seen) -> None:
        self.parts: list[bytes] = []
        self._seen = seen

    def end(self, error: BaseException | None = None) -> None:
        self._seen(b"".join(self.parts), error)


class _Watch:
    """What covers the response's methods. A close while the next bytes are awaited is the library's own, on its way to an error."""

    def __init__(self, response: Any, seen: Seen) -> None:
        self.body = _Body(seen)
        self._awaiting = False
        self._iterate_it, self._aiterate_it = response.iter_bytes, response.aiter_bytes
        self._close_it, self._aclose_it = response.close, response.aclose

    def iter_bytes(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        return self._iterate(self._iterate_it(*args, **kwargs))

    def _iterate(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._next():
                part = next(parts, None)
            if part is None:
                self.body.end()
                return
            self.body.parts.append(part)
            yield part

    def aiter_bytes(self, *args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        return self._aiterate(self._aiterate_it(*args, **kwargs))

    async def _aiterate(self, parts: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
        async with aclosing(parts):
            while True:
                with self._next():
                    part = await anext(parts, None)
                if part is None:
                    self.body.end()
                    return
                self.body.parts.append(part)
                yield part

    @contextmanager
    def _next(self) -> Generator[None]:
        self._awaiting = True
        try:
            yield
        except BaseException as error:
            self.body.end(error)
            raise
        finally:
            self._awaiting = False

    def close(self) -> None:
        if not self._awaiting:
            self.body.end()
        self._close_it()

    async def aclose(self) -> None:
        if not self._awaiting:
            self.body.end()
        await self._aclose_it()
