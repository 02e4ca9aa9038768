"""What a mirror tells Prometheus: made anew at each scrape, from what `Watch` and `Tally` know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from carnet import VERSION
from carnet.errors import CarnetError, ConfigError
from carnet_mirror import log
from carnet_mirror.schedule import LIVES, STAGES
from carnet_mirror.state.disk import Disk
from carnet_mirror.web.tally import Tally
from carnet_mirror.web.watch import Contents, Published, Watch

try:  # where carnet was installed without what a mirror needs
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
except ImportError:
    raise ConfigError(
        "prometheus-client is not installed: carnet was installed without what a mirror needs",
        hint="install it with the extra `mirror`: in a checkout `pip install '.[mirror]'`, "
        "of a wheel `pip install './carnet-VERSION-py3-none-any.whl[mirror]'`",
    ) from None

MEDIA_TYPE = CONTENT_TYPE_LATEST


async def exposed(watch: Watch, tally: Tally) -> bytes:
    """Everything, in Prometheus's text format; where the mirror cannot be read, `carnet_readable` is 0."""
    found = [*_of_server(tally)]
    unready = await watch.unready()
    readable = True
    try:
        published, contents = await watch.published(), await watch.contents()
        found += [*_of_published(published, watch.now()), *_of_contents(contents, watch.now())]
        found.append(_gauge("carnet_pending_claims", "Claims and takeovers that wait.", watch.waiting_claims()))
        found += _of_disk(watch.disk)
    except CarnetError as error:
        log.error(f"/metrics: {error}")
        readable = False
    found.append(_gauge("carnet_readable", "1 when what is published can be read.", readable))
    found.append(_gauge("carnet_ready", "1 when clients can use what is published.", unready is None))
    registry = CollectorRegistry()
    registry.register(_Once(found))
    return generate_latest(registry)


class _Once:
    """As the library wants it: something that is asked for metrics."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _of_published(published: Published, now: datetime) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "carnet_publishes", "Timestamps that were ever published: one for each publish.", value=published.timestamp
    )
    yield _gauge("carnet_snapshot_version", "Of the snapshot that is published.", published.snapshot[0])
    yield _gauge("carnet_clock_wrong", "1 when this machine's clock cannot be right.", published.clock is not None)
    versions = GaugeMetricFamily(
        "carnet_role_version", "Of each role; of bins and shards the one that ends first.", labels=["role"]
    )
    ends = GaugeMetricFamily("carnet_role_expires_timestamp_seconds", "When each role ends.", labels=["role", "signed"])
    ages = GaugeMetricFamily("carnet_role_age_seconds", "Since the mirror signed it.", labels=["role"])
    for one in published.roles:
        versions.add_metric([one.role], one.version)
        ends.add_metric([one.role, "online" if one.online else "by-people"], one.expires.timestamp())
        if one.role in LIVES:
            ages.add_metric([one.role], (now - one.expires + LIVES[one.role]).total_seconds())
    yield from (versions, ends, ages)


def _of_disk(disk: Disk) -> Iterator[Metric]:
    yield _gauge("carnet_disk_free_bytes", "Free on the disk that the mirror is on.", disk.free())
    yield _gauge("carnet_disk_reserve_bytes", "Of that, what is kept for upkeep.", disk.rules.reserve)
    yield _gauge("carnet_intake_paused", "1 when nothing is taken in because of it.", disk.shortage() is not None)


def _of_contents(contents: Contents, now: datetime) -> Iterator[Metric]:
    ending = GaugeMetricFamily(
        "carnet_claims_ending", "Owner and crate roles and layouts that end within so many days.", labels=["days"]
    )
    for stage in STAGES:
        ending.add_metric([str(stage.days)], sum(one.expires - now <= stage for one in contents.claims))
    size = GaugeMetricFamily("carnet_stored_bytes", "Of published files, by folder.", labels=["folder"])
    count = GaugeMetricFamily("carnet_stored_files", "Published files, by folder.", labels=["folder"])
    for folder, (length, files) in sorted(contents.stored.items()):
        size.add_metric([folder], length)
        count.add_metric([folder], files)
    yield from (ending, size, count)
    yield _gauge("carnet_crates", "Crates that the mirror has.", contents.crates[0])
    yield _gauge("carnet_crate_versions", "Versions that the mirror has.", contents.crates[1])


def _of_server(tally: Tally) -> Iterator[Metric]:
    info = GaugeMetricFamily("carnet_info", "The version of carnet.", labels=["version"])
    info.add_metric([VERSION], 1)
    waiting = GaugeMetricFamily("carnet_waiting", "Bodies that arrive or wait to be judged.", labels=["what"])
    for what, count in sorted(tally.waiting.items()):
        waiting.add_metric([what], count())
    refusals = CounterMetricFamily("carnet_refusals", "What was posted and not taken.", labels=["what", "why"])
    for labels, number in sorted(tally.refusals.items()):
        refusals.add_metric([*labels], number)
    requests = HistogramMetricFamily(
        "carnet_request_seconds", "From a request to the beginning of its answer.", labels=["route", "status"]
    )
    for route, latencies in sorted(tally.requests.items()):
        requests.add_metric([*route], latencies.buckets(), latencies.seconds)
    yield from (info, waiting, refusals, requests)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
