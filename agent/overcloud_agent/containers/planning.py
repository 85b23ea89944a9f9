"""Find out what a plan is made of, without touching anything: config, containers, registries, the node's history."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from overcloud_agent import errors, journal, model
from overcloud_agent.containers import (
    adoption,
    engine,
    job,
    masks,
    order,
    plan,
    prepare,
    preview,
    remote,
    spec,
    target,
    units,
    work,
)

if TYPE_CHECKING:
    from overcloud_agent import settings


def plan_deployment(deployment: model.Deployment, config: settings.Settings) -> dict[str, Any]:
    """What the upgrade of a deployment would do, as preview.schema() says. Raises BadInput and EngineError."""
    containers = spec.parse(deployment.config)
    asked = job.read(deployment)
    step_of = spec.steps(deployment.config)
    with engine.Engine(config.podman_url, timeout=config.podman_timeout) as podman:
        starter = units.starter(config, podman)
        found = podman.containers()
        held = _held(podman)
        wanted, existing, replaced = list[preview.Wanted](), {}, set[str]()
        for name in [name for wave in spec.waves(containers) for name in wave]:
            container = containers[name]
            there = _existing(podman, name, container, found)
            if there:
                existing[name] = there
            if container.action == "exec":
                wanted.append(_executed(name, container))
                continue
            told = remote.look_up(container.image, held)
            one = prepare.target_of(
                name,
                container,
                engine.Image(id="", digest=told.digest or ""),
                asked,
                config,
                starter,
                step_of.get(name),
            )
            partners = sorted(replaced.intersection(order.joined(container).values())) if container.detach else []
            if there and partners:
                there = existing[name] = dataclasses.replace(there, fingerprint=plan.CUT_OFF)
            wanted.append(_wanted(one, told, there, found, partners))
            if plan.Step.STOP.value in wanted[-1].steps:
                replaced.add(name)
        removed = [
            _described(podman, name) for name, _ in work.left(found, containers, asked, step_of) if asked.complete
        ]
    facts = preview.Facts(
        wanted=wanted, existing=existing, removed=[one for one in removed if one], history=_history(config)
    )
    return preview.document(facts)


def _held(podman: engine.Engine) -> remote.Held:
    return remote.Held(images={name: image.digest for name, image in podman.images().items()})


def _executed(name: str, container: spec.Container) -> preview.Wanted:
    return preview.Wanted(
        name=name,
        config=masks.conceal(spec.written(container)),
        image="",
        digest=None,
        bytes_to_pull=0,
        fingerprint="",
        steps=(work.EXECUTE,),
    )


def _wanted(
    one: target.Target,
    told: remote.Found,
    there: preview.Existing | None,
    found: dict[str, plan.Container],
    partners: list[str],
) -> preview.Wanted:
    fingerprint = one.wanted.fingerprint if told.digest else ""
    if there and there.fingerprint and one.name in found:
        one = dataclasses.replace(one, adopted={found[one.name].id: there.fingerprint})
    if not told.digest and there and there.digest:
        # The registry does not tell; the image is taken to be the one that runs.
        assumed = spec.fingerprint(one.container, digest=there.digest, env_files=prepare.read_env_files(one.container))
        one = dataclasses.replace(one, wanted=dataclasses.replace(one.wanted, fingerprint=assumed))
    steps = plan.ahead(one.facts(found), one.wanted)
    return preview.Wanted(
        name=one.name,
        config=masks.conceal(spec.written(one.container)),
        image=one.container.image,
        digest=told.digest,
        bytes_to_pull=told.bytes_to_pull,
        fingerprint=fingerprint,
        steps=tuple(step.value for step in steps),
        notes=(
            *([told.note] if told.note else []),
            *(f"it shares namespaces of {partner}, which is replaced" for partner in partners),
        ),
    )


def _existing(
    podman: engine.Engine, name: str, container: spec.Container, found: dict[str, plan.Container]
) -> preview.Existing | None:
    """The container of that name, or the one that another tool has under another one."""
    real = adoption.find(name, podman.entries()) if name not in found else name
    if not real:
        return None
    described = _described(podman, real)
    if described and not described.fingerprint:
        adopted = prepare.adopted(podman, found[real], real, container)
        described = dataclasses.replace(described, fingerprint=adopted.get(found[real].id, ""))
    return described


def _described(podman: engine.Engine, name: str) -> preview.Existing | None:
    document = podman.document(name)
    one = podman.inspect(name)
    if document is None or one is None:
        return None
    container = adoption.config_of(document)
    return preview.Existing(
        name=name,
        config=_known(one, container),
        digest=one.digest or podman.image(one.image).digest,
        fingerprint=one.fingerprint,
        managed_by=one.managed_by,
        ours=bool(one.fingerprint),
        running=one.running,
    )


def _known(one: plan.Container, container: spec.Container | None) -> dict[str, Any] | None:
    """The config of one that is there; our own label has it without secrets already."""
    if container is None:
        return None
    return spec.written(container) if one.fingerprint else masks.conceal(spec.written(container))


def _history(config: settings.Settings) -> dict[str, list[float]]:
    if not (config.state_dir / "journal.sqlite").exists():
        return {}
    book = journal.Journal.open(config.state_dir)
    try:
        return book.downtimes()
    except errors.JournalError:
        return {}
    finally:
        book.close()
