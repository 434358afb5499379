"""What /metrics tells, in the text format of Prometheus; nothing of any film."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adaloraqat.serve.pool import WorkerPool

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Counts calls by route and status, and asks the pool how it is."""

    def __init__(self, pool: WorkerPool) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "adaloraqat_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "adaloraqat_request_seconds",
            "Time from a request's header to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Pool(pool))

    def count(self, route: str, status: int, seconds: float) -> None:
        """Note one request; `route` as it is declared, so that there are few."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return the page."""
        return generate_latest(self.registry)


class _Pool(Collector):
    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        pool = self._pool
        for name, text, value in (
            ("waiting_films", "Films that wait for a worker.", pool.waiting),
            ("films_in_work", "Films that a worker has.", pool.in_work),
            ("ready_workers", "Workers that have their models loaded.", pool.ready_workers),
            ("workers", "Workers that there are to be.", pool.workers),
        ):
            yield GaugeMetricFamily(f"adaloraqat_{name}", text, value)
        yield CounterMetricFamily("adaloraqat_worker_deaths", "Workers that died or were ended.", pool.deaths)
