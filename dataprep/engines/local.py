"""The local engine: several batches at once in threads, results in order, memory bounded.

Threads suffice because Pillow, ONNX Runtime and torch release the GIL; pixels never cross processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa


def map_batches(
    function: Callable[[pa.Table], pa.Table], batches: Iterable[pa.Table], threads: int
) -> Iterator[pa.Table]:
    """Apply `function` to each batch, at most `threads` at once, yielding results in the batches' order.

    An error in one batch cancels the batches not yet started and is raised when its turn comes.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="rows") as pool:
        waiting: deque[Future[pa.Table]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(function, batch))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
