"""Counters in Prometheus' text format 0.0.4."""

from collections import defaultdict

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """Counts of one server; no label names a recording or a client."""

    def __init__(self):
        self.requests: dict[tuple[str, int], int] = defaultdict(int)
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0] * (2 + len(BUCKETS)))
        # route -> sum, count, answers within each bucket
        self.images = 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests[route, status] += 1
        entry = self.seconds[route]
        entry[0] += seconds
        entry[1] += 1
        for i, bound in enumerate(BUCKETS):
            entry[2 + i] += seconds <= bound

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """The page of /metrics.

        Args:
            gauges: name -> (help, value), taken as they are now.
        """
        lines = [
            "# HELP v2f_requests_total Answers by route and status.",
            "# TYPE v2f_requests_total counter",
        ]
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'v2f_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += ["# HELP v2f_images_total Images made.", "# TYPE v2f_images_total counter"]
        lines.append(f"v2f_images_total {self.images}")
        lines += ["# HELP v2f_request_seconds Seconds from the request's head to its answer."]
        lines += ["# TYPE v2f_request_seconds histogram"]
        for route, (total, count, *buckets) in sorted(self.seconds.items()):
            for bound, below in zip(BUCKETS, buckets, strict=True):
                lines.append(f'v2f_request_seconds_bucket{{route="{route}",le="{bound:g}"}} {below:g}')
            lines.append(f'v2f_request_seconds_bucket{{route="{route}",le="+Inf"}} {count:g}')
            lines.append(f'v2f_request_seconds_sum{{route="{route}"}} {total:.6f}')
            lines.append(f'v2f_request_seconds_count{{route="{route}"}} {count:g}')
        for name, (text, value) in gauges.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Memory that this process has in RAM; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        import resource

        return pages * resource.getpagesize()
    except (OSError, ValueError, ImportError):
        return 0
