"""One swap of ours in Podman's eyes: each request with its time, the stop request's being 0; and single requests."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.container_swap import api, relay, service, sides, swap
from podmanbox import box


def one_swap(podman: box.PodmanBox) -> str:
    """Swap once and tell it, with what the client saw in between."""
    path = podman.directory / "relay.sock"
    path.unlink(missing_ok=True)
    old, new = service.VERSIONS
    with relay.Relay(path, podman.socket) as between:
        side = sides.Ours(podman, service.on_host("traced"), between.url)
        side.swap(old)
        between.exchanges.clear()
        seen = swap.measure(side, old)
    podman.podman("rm", "--force", "--time=0", "traced")
    path.unlink()
    stopped = [exchange.began for exchange in between.exchanges if "/stop" in exchange.path or "/kill" in exchange.path]
    if not stopped:
        raise sides.SwapError(f"no request stopped a container while {old} was swapped for {new}")
    rows = [(one.began, _shown(one, stopped[0])) for one in between.exchanges]
    for when, words in ((seen.last_old, "last answer of the old"), (seen.first_new, "first answer of the new")):
        rows.append((when, f"{(when - stopped[0]) * 1000:9.1f}  {'':8}  --- {words} container ---"))
    heading = f"{'at (ms)':>9}  {'took':>8}  request, answer"
    downtime = f"downtime {seen.downtime * 1000:.1f} ms, {len(between.exchanges)} requests"
    return "\n".join([heading, *(line for _, line in sorted(rows)), downtime])


def _shown(one: relay.Exchange, zero: float) -> str:
    path = one.path.partition("/libpod")[2] or one.path
    return f"{(one.began - zero) * 1000:9.1f}  {(one.ended - one.began) * 1000:8.1f}  {one.method} {path} {one.status}"


def single_requests(podman: box.PodmanBox, rounds: int) -> str:
    """What the requests of a swap take, each by itself, on the host's network: in ms."""
    to = api.Api(podman.socket)
    where = service.on_host("single")
    took: dict[str, list[float]] = {}

    def timed(words: str, action: Callable[[], object]) -> None:
        began = time.monotonic()
        action()
        took.setdefault(words, []).append((time.monotonic() - began) * 1000)

    for _ in range(rounds):
        sides.create(to, podman, where, "single", service.VERSIONS[0])
        timed("start, created", lambda: to.act("single", "start"))
        to.remove("single")
        timed("create", lambda: sides.create(to, podman, where, "single", service.VERSIONS[0]))
        timed("init", lambda: to.act("single", "init"))
        timed("rename, initialised", lambda: to.act("single", "rename", "name=single2"))
        timed("start, initialised", lambda: to.act("single2", "start"))
        timed("rename, running", lambda: to.act("single2", "rename", "name=single"))
        timed("inspect, running", lambda: to.call("GET", "/containers/single/json"))
        timed("list all", lambda: to.call("GET", "/containers/json?all=true"))
        timed("stop", lambda: to.act("single", "stop"))
        timed("rename, stopped", lambda: to.act("single", "rename", "name=single2"))
        timed("remove, stopped", lambda: to.remove("single2"))
        timed("info", lambda: to.call("GET", "/info"))
    lines = [f"{words:20}  {statistics.median(values):8.1f}  {max(values):8.1f}" for words, values in took.items()]
    return "\n".join([f"{'request':20}  {'median':>8}  {'max':>8}", *lines])
