"""The command line: `python -m benchmarks.container_swap`, with tests/ on PYTHONPATH, or `make benchmark-swap`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import places
from benchmarks import options
from benchmarks.container_swap import api, auto_update, figures, many, service, sides, swap, trace
from nodebox import box as nodeboxes
from podmanbox import box
from podmanbox import errors as box_errors


def main(argv: Sequence[str]) -> int:
    """Measure what is asked for, and print it."""
    arguments = _parser().parse_args(argv)
    podman = box.PodmanBox(places.SCRATCH / "swap")
    podman.down(wipe=True)
    podman.up()
    try:
        digests = service.build(podman)
        if arguments.trace:
            print(trace.one_swap(podman), trace.single_requests(podman, arguments.count), sep="\n\n")
            return 0
        measured: list[figures.Section] = []
        aims: list[figures.Aim] = []
        for part in arguments.only:
            print(f"{part} ...", file=sys.stderr)
            sections, wanted = PARTS[part](podman, arguments, digests)
            measured += sections
            aims += wanted
            podman.remove_containers()
    except (sides.SwapError, api.ApiError, box_errors.BoxError, OSError) as error:
        print(f"the benchmark failed: {error}", file=sys.stderr)
        return 1
    finally:
        podman.down(wipe=True)
    settings = {key: getattr(arguments, key) for key in ("count", "runs", "containers", "known", "only")}
    print(figures.document(measured, aims, settings) if arguments.json else figures.table(measured, aims))
    return 0


_Measured = tuple[list[figures.Section], list[figures.Aim]]


def _host(podman: box.PodmanBox, arguments: argparse.Namespace, _: dict[str, str]) -> _Measured:
    with nodeboxes.NodeBox(places.SCRATCH / "swap-node", registry=podman.registry) as node:
        where = service.on_host("auto-update")
        more = [auto_update.AutoUpdate(podman, where, node)]
        return _swaps(podman, arguments.count, "the host's network", service.on_host, more)


def _bridge(podman: box.PodmanBox, arguments: argparse.Namespace, _: dict[str, str]) -> _Measured:
    return _swaps(podman, arguments.count, "a bridge network", lambda name: service.on_bridge(podman, name))


def _swaps(
    podman: box.PodmanBox,
    count: int,
    network: str,
    place: Callable[[str], service.Service],
    more: Sequence[sides.Side] = (),
) -> _Measured:
    """One swap of each side after the other, again and again, so that the machine's moods touch all of them."""
    section = figures.Section(f"Downtime of one swap, {network}", "ms", sides.Floor.name)
    compared: list[sides.Side] = [
        *(kind(podman, place(kind.name.replace("+", "-"))) for kind in (sides.Ours, sides.CommandLine, sides.Floor)),
        *more,
    ]
    old = service.VERSIONS[0]
    for side in compared:
        side.prepare(old)
        side.swap(old)
    for _ in range(count):
        for side in compared:
            section.add(side.name, swap.measure(side, old).downtime * 1000)
        old = service.other(old)
    podman.remove_containers()
    ours, by_hand = sides.Ours.name, sides.CommandLine.name
    return [section], [
        figures.Aim(f"{network}: ours, as a multiple of the floor", section.ratio(ours, section.base), 1.15),
        figures.Aim(f"{network}: stop+rm+run, as a multiple of ours", section.ratio(by_hand, ours), 2, at_least=True),
    ]


def _many(podman: box.PodmanBox, arguments: argparse.Namespace, _: dict[str, str]) -> _Measured:
    """Replace all containers of one deployment."""
    sections = []
    for count in arguments.containers:
        section = figures.Section(f"Replace {count} containers of one deployment", "s", sides.CommandLine.name)
        old = service.VERSIONS[0]
        many.replace(podman, f"many-{count}", old, count)
        # Whoever comes second finds what the other one left, which is the same: containers of the other version.
        for run in range(arguments.runs):
            new = service.other(old)
            section.add(sides.Ours.name, many.replace(podman, f"many-{count}-{run}", new, count))
            section.add(sides.CommandLine.name, many.replace_by_hand(podman, old, count))
        podman.remove_containers()
        sections.append(section)
    return sections, []


def _nothing(podman: box.PodmanBox, arguments: argparse.Namespace, digests: dict[str, str]) -> _Measured:
    """A deployment whose containers are as they should be."""
    version = service.VERSIONS[0]
    images = {"by tag": service.reference(podman, version), "by digest": f"{podman.registry}/swap@{digests[version]}"}
    sections = [figures.Section(f"Nothing to do, {count} containers", "ms") for count in arguments.known]
    # An image's digest in the registry is known here only after it has once been pulled by it.
    for image in images.values():
        sides.deploy(podman, podman.socket_url, "nothing", many.config(image, max(arguments.known)))
    for run in range(arguments.runs):
        for section, count in zip(sections, arguments.known, strict=True):
            for words, image in images.items():
                took = many.find_nothing(podman, f"nothing-{count}-{run}", image, count)
                section.add(words, took * 1000)
                section.add(f"{words}, for each", took * 1000 / count)
    fewest, most = min(arguments.known), max(arguments.known)
    if fewest == most:
        return sections, []
    first, last = (sections[arguments.known.index(count)] for count in (fewest, most))
    return sections, [
        figures.Aim(
            f"nothing to do, {words}: ms for each further container",
            (last.median(words) - first.median(words)) / (most - fewest),
            10,
        )
        for words in images
    ]


PARTS: dict[str, Callable[[box.PodmanBox, argparse.Namespace, dict[str, str]], _Measured]] = {
    "host": _host,
    "bridge": _bridge,
    "many": _many,
    "nothing": _nothing,
}


def _parser() -> argparse.ArgumentParser:
    counts = options.counts
    parser = argparse.ArgumentParser(prog="benchmarks.container_swap", description="Swaps of containers, compared.")
    parser.add_argument("--count", type=int, default=30, help="swaps of each side, single requests of a trace (30)")
    parser.add_argument("--runs", type=int, default=3, help="runs with many containers, and with nothing to do (3)")
    parser.add_argument("--containers", type=counts, default=[1, 10, 50], help="containers to replace (1,10,50)")
    parser.add_argument("--known", type=counts, default=[1, 10, 100], help="containers with nothing to do (1,10,100)")
    options.add_common(parser, PARTS)
    parser.add_argument("--trace", action="store_true", help="show the requests of one swap of ours instead")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
