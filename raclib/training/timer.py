"""Where the time of a step goes."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """Adds up wall-clock seconds by name. On a GPU, kernels still running count where they are
    waited for."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time of a `with` block to a name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def reset(self) -> dict[str, float]:
        """The sums so far, as `seconds/<name>`; starts again from zero."""
        sums = {f"seconds/{name}": value for name, value in self.seconds.items()}
        self.seconds.clear()
        return sums
