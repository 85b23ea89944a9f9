"""The verbs of `overcloud-agent`. The answer goes to stdout, the story to stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from overcloud_agent import errors, log, settings

FILE = click.Path(path_type=Path, dir_okay=False)


class _Group(click.Group):
    """Turns the agent's errors into a message, a hint and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            super().main(*args, **kwargs)
        except errors.AgentError as error:
            click.echo(f"overcloud-agent: {error.message}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            sys.exit(error.exit_code)
        sys.exit(0)

    def invoke(self, ctx: click.Context) -> Any:
        # click would end with 1, as if something had failed.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise errors.Interrupted("interrupted") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config-file", type=FILE, help="Read this configuration file instead of the default ones.")
@click.option("-v", "--verbose", is_flag=True, help="Tell more on stderr.")
@click.version_option(package_name="overcloud-agent")
@click.pass_context
def main(context: click.Context, config_file: Path | None, verbose: bool) -> None:
    """Run the software deployments that Heat has for this node, and tell Heat the results.

    Exit codes: 0 done or nothing to do, 1 failed, 2 bad input, 3 rolled back, 10 changes pending (plan --exit-code),
    75 try later, 130 interrupted.
    """
    log.setup(verbose=verbose)
    context.obj = config_file


@main.command()
@click.pass_obj
def run(config_file: Path | None) -> None:
    """Stay and work: poll Heat, run what it asks for, deliver the results.

    SIGTERM finishes the step at hand and stops; what is left resumes at the next start. SIGHUP reads the
    configuration again. Under systemd use Type=notify.
    """
    from overcloud_agent import agent

    agent.run(settings.load(config_file), config_file)


@main.command()
@click.option("--deliver-within", default=60.0, show_default=True, help="Seconds to wait for results to be delivered.")
@click.pass_obj
def apply(config_file: Path | None, deliver_within: float) -> None:
    """Work once: poll, run everything that waits, deliver the results.

    Exits with 1 when a deployment failed, a source did not answer, or a result could not be delivered.
    """
    from overcloud_agent import agent

    if not agent.apply(settings.load(config_file), deliver_within=deliver_within):
        sys.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(config_file: Path | None, as_json: bool) -> None:
    """Show sources, deployments, steps and pending signals, from the journal."""
    from overcloud_agent import status as report

    facts = report.collect(settings.load(config_file).state_dir)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        report.show(facts)


@main.command()
@click.pass_obj
def check(config_file: Path | None) -> None:
    """Check that this version can work with the node's configuration and journal. Nothing is changed.

    Exits with 0 when `run` would start, else with a message.
    """
    from overcloud_agent import database

    config = settings.load(config_file)
    settings.load_collectors(config)
    database.check(config.state_dir)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def identifiers(config_file: Path | None, as_json: bool) -> None:
    """Print unique identifiers of the node's packages, its content trees and its running containers.

    Each is the same on every node with the same content; a deployment that has one as an input is run again when it
    changes.
    """
    from overcloud_agent import identify

    facts = identify.collect(settings.load(config_file))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        identify.show(facts)


@main.group()
def signals() -> None:
    """Look after results on their way to Heat."""


@signals.command()
@click.option("--deliver-within", default=60.0, show_default=True, help="Seconds to wait for the attempts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def flush(config_file: Path | None, deliver_within: float, as_json: bool) -> None:
    """Try now to deliver every pending result, whatever it waits for, and tell how that went.

    Exits with 75 when something is still pending.
    """
    from overcloud_agent import flush as verb

    report = verb.flush(settings.load(config_file), deliver_within=deliver_within)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        verb.show(report)
    if report["pending"]:
        sys.exit(errors.Busy.exit_code)


@main.command()
@click.argument("file", type=FILE, required=False)
@click.option("--packages", is_flag=True, help="Show packages besides what FILE is about.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--exit-code", is_flag=True, help="Exit with 10 when something would change.")
@click.pass_obj
def plan(config_file: Path | None, file: Path | None, packages: bool, as_json: bool, exit_code: bool) -> None:
    """Tell what would change: of containers, by FILE; of packages, without FILE or with --packages.

    FILE is a container-upgrade config (JSON or YAML), or a deployment of container-upgrade or package-update. Nothing
    is changed, and no image is pulled; the repositories of packages are asked.
    """
    from overcloud_agent import preview

    found = preview.collect(file, settings.load(config_file), packages=packages)
    if as_json:
        click.echo(json.dumps(found.document(), indent=2))
    else:
        found.show()
    if exit_code and found.changes:
        sys.exit(errors.CHANGES_PENDING)


@main.command("packages")
@click.option("--refresh/--no-refresh", default=True, help="Ask the repositories first (the default).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--exit-code", is_flag=True, help="Exit with 10 when something is pending.")
@click.pass_obj
def pending(config_file: Path | None, refresh: bool, as_json: bool, exit_code: bool) -> None:
    """Show pending changes of packages, each an update or an upgrade, and what would restart. Nothing is changed."""
    from overcloud_agent import preview

    found = preview.of_packages(settings.load(config_file), refresh=refresh)
    if as_json:
        click.echo(json.dumps(found.document(), indent=2))
    else:
        found.show()
    if exit_code and found.changes:
        sys.exit(errors.CHANGES_PENDING)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def processes(config_file: Path | None, as_json: bool) -> None:
    """Show processes that run code which is about to change, or is no longer what is on disk. Nothing is changed.

    What is about to change is what `overcloud-agent packages` showed last; the repositories are not asked.
    """
    from overcloud_agent import process_table as table

    rows = table.collect(settings.load(config_file))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        table.show(rows)


@main.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def rollback(config_file: Path | None, name: str, as_json: bool) -> None:
    """Return to the previous container NAME that was kept, through the same steps and gate as an upgrade.

    Heat is not told: its next deployment of the container brings back what its config says. Exits with 1 when the
    previous container does not pass; the one that served then serves again.
    """
    from overcloud_agent.containers import rollback as verb

    outcome = verb.roll_back(name, settings.load(config_file), lambda: False)
    if as_json:
        click.echo(json.dumps(verb.describe(outcome), indent=2))
    elif not outcome.failed:
        click.echo(f"{name}: {outcome.old_digest} is replaced by {outcome.new_digest}, which ran before it")
    if outcome.failed:
        raise errors.EngineError(outcome.error, hint=outcome.log)


@main.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def validate(config_file: Path | None, file: Path, as_json: bool) -> None:
    """Check FILE: a container-upgrade config (JSON or YAML), a deployment, or metadata with deployments.

    Exits with 2 and names each mistake with its JSON path when something is wrong. Nothing is changed.
    """
    from overcloud_agent import validate as checks

    problems = checks.check_file(file, settings.load(config_file))
    if as_json:
        click.echo(json.dumps({"file": str(file), "problems": problems}, indent=2))
    elif not problems:
        click.echo(f"{file}: valid")
    for problem in [] if as_json else problems:
        click.echo(f"{file}: {problem}", err=True)
    if problems:
        sys.exit(errors.BadInput.exit_code)
