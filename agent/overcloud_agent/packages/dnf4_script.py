"""What dnf 4 would do and what it did last, as JSON: dnf's command line tells it only to people.

This file is no module of the agent: the interpreter that dnf itself runs on executes it, since only that one has the
bindings. It keeps to what Python 3.6 (RHEL 8) knows. The question is JSON on stdin: `ask` ("pending" or "state"),
`root`, and for "pending" `packages` and `exclude`. The answer is JSON on stdout. What dnf says goes to stderr; an
exit code of 1 means that this is the answer.

Configuration, plugins and excludes are set up as for `dnf upgrade`, through the class that dnf's main() uses.
"""

import fnmatch
import json
import os
import sys
from typing import Any

import dnf
import dnf.callback
import dnf.cli
import dnf.cli.cli
import dnf.conf
import dnf.db.group
import dnf.exceptions
import dnf.goal
import dnf.plugin
import dnf.selector
import dnf.transaction_sr
import hawkey
import libdnf.error
from libdnf import transaction as actions

# A type checker takes this name for true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {
    actions.TransactionItemAction_INSTALL: "install",
    actions.TransactionItemAction_UPGRADE: "upgrade",
    actions.TransactionItemAction_DOWNGRADE: "downgrade",
    actions.TransactionItemAction_REINSTALL: "reinstall",
}
# What the installed package of the same name becomes, by the above.
REPLACED = {
    actions.TransactionItemAction_UPGRADE: actions.TransactionItemAction_UPGRADED,
    actions.TransactionItemAction_DOWNGRADE: actions.TransactionItemAction_DOWNGRADED,
    actions.TransactionItemAction_REINSTALL: actions.TransactionItemAction_REINSTALLED,
}
REMOVED = (actions.TransactionItemAction_REMOVE, actions.TransactionItemAction_OBSOLETED)
# How many packages that cannot be installed are asked why.
MOST_EXPLAINED = 50


def main() -> int:
    """Answer the question."""
    question = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        with dnf.cli.cli.BaseCli(dnf.conf.Conf()) as base:
            try:
                told = pending(base, question) if question["ask"] == "pending" else state(base, question)
            except dnf.cli.CliError as error:
                # It has said why to people, with all that it knows of a repository, and comes without a text.
                raise dnf.exceptions.Error(str(error) if error.value else without_key(base)) from error
    except (dnf.exceptions.Error, hawkey.Exception, libdnf.error.Error, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    told["format"] = dnf.transaction_sr.VERSION
    with answer:
        json.dump(told, answer)
    return 0


def set_up(base: Any, words: "list[str]", root: str) -> Any:
    """Configure dnf as its command line does with `words`, and read what the cache has; return its Cli."""
    base._logging._presetup()
    cli = dnf.cli.cli.Cli(base)
    where = ["--installroot", root] if root != "/" else []
    cli.configure(["--quiet", "--cacheonly", *where, *words])
    cli._process_demands()
    return cli


def without_key(base: Any) -> str:
    """Why dnf does not begin to upgrade: no key is installed, and a repository names none to be installed."""
    names = [one.id for one in base.repos.iter_enabled() if (one.gpgcheck or one.repo_gpgcheck) and not one.gpgkey]
    return "signatures are to be checked, no public key is installed, and there is no gpgkey= for {}".format(
        ", ".join(names)
    )


def pending(base: Any, question: "dict[str, Any]") -> "dict[str, Any]":
    """What `dnf upgrade` would do: changes, and what is kept."""
    exclude = ["--exclude=" + name for name in question["exclude"]]
    cli = set_up(base, ["--setopt=*.skip_if_unavailable=0", *exclude, "upgrade"], question["root"])
    wanted = question["packages"]
    for spec in wanted:
        try:
            base.upgrade(spec)
        except dnf.exceptions.MarkingError as error:
            # Nothing of it can be upgraded; why is found out below.
            sys.stderr.write(f"{error}\n")
    if not wanted:
        base.upgrade_all()
    # It would note each package in dnf's log.
    base._ds_callback = dnf.callback.Depsolve()
    # This one would find out what it tells people when a transaction has ended.
    base._plugins.plugins = [plugin for plugin in base._plugins.plugins if plugin.name != "show-leaves"]
    # Others may look at the transaction, and are to find all that dnf has.
    if all(type(plugin).resolved is dnf.plugin.Plugin.resolved for plugin in base._plugins.plugins):
        base.history._rpm = Transaction(base.history)
    base.resolve(cli.demands.allow_erasing)
    items = [item for item in base.transaction or () if item.action != actions.TransactionItemAction_REASON_CHANGE]
    changed = {item.pkg.name for item in items}
    return {"changes": changes(base, items), "kept": kept(base, changed, wanted)}


class Transaction(dnf.db.group.RPMTransaction):  # type: ignore[misc]  # dnf has no types
    """What dnf makes of what it resolved, without what it does to keep that in its history: half of all its work."""

    def __init__(self, history: Any) -> None:
        super().__init__(history)
        self._items: list[Item] = []

    def new(self, pkg: Any, action: int, reason: "int | None" = None, **_: Any) -> "Item":
        """Called by its base class for each package."""
        self._items.append(Item(self, pkg, action, reason))
        return self._items[-1]

    def __iter__(self) -> "Iterator[Item]":
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Item:
    """A package of a transaction, as its readers want to see it."""

    def __init__(self, transaction: Transaction, package: Any, action: int, reason: "int | None") -> None:
        self.pkg = package
        self.action = action
        self._transaction = transaction
        self._reason = reason

    @property
    def reason(self) -> Any:
        """Why it is there; of an installed package that is asked for only if somebody wants to know."""
        return self._transaction.get_reason(self.pkg) if self._reason is None else self._reason

    def addReplacedBy(self, other: "Item") -> None:  # noqa: N802  # dnf calls it so
        """What comes in its place is found by its name."""


def changes(base: Any, items: "list[Any]") -> "list[dict[str, Any]]":
    """The transaction, one entry for each package that comes or goes."""
    leaving: dict[tuple[int, str], list[Any]] = {}
    for item in items:
        if item.action in REPLACED.values():
            leaving.setdefault((item.action, item.pkg.name), []).append(item.pkg)
    found = []
    for item in items:
        if item.action in KINDS:
            same = leaving.get((REPLACED.get(item.action, 0), item.pkg.name), [])
            # The one of another architecture goes where there is none of this one.
            old = ([package for package in same if package.arch == item.pkg.arch] or same or [None])[0]
            entry = coming(base, KINDS[item.action], item.pkg, old)
            if item.action == actions.TransactionItemAction_INSTALL:
                entry["cause"] = actions.TransactionItemReasonToString(item.reason)
            found.append(entry)
        elif item.action in REMOVED:
            package = item.pkg
            entry = names(package)
            entry.update(kind="remove", old=evr(package), source=package.source_name or "")
            entry["growth"] = -package.installsize
            found.append(entry)
    return found


def coming(base: Any, kind: str, package: Any, old: Any) -> "dict[str, Any]":
    """A package that comes, for `old` or beside it."""
    entry = names(package)
    entry.update(
        kind=kind,
        old=evr(old) if old else "",
        new=evr(package),
        source=package.source_name or "",
        repository=package.reponame,
        download=package.downloadsize,
        growth=package.installsize - (old.installsize if old else 0),
        security=security(base, package, old),
    )
    return entry


def security(base: Any, package: Any, old: Any) -> Any:
    """Whether a security advisory is about this package or one between it and the old; None if there are none."""
    repository = base.repos[package.reponame]
    if not repository._repo.getMetadataPath("updateinfo"):
        return None
    advisories = package.get_advisories(hawkey.EQ)
    if old:
        for advisory in old.get_advisories(hawkey.GT):
            of_it = [told for told in advisory.packages if told.name == package.name and told.arch == package.arch]
            if any(base.sack.evr_cmp(told.evr, package.evr) <= 0 for told in of_it):
                advisories.append(advisory)
    return any(advisory.type == hawkey.ADVISORY_SECURITY for advisory in advisories)


def kept(base: Any, changed: "set[str]", wanted: "list[str]") -> "list[dict[str, str]]":
    """Packages that the repositories have newer, and that stay as they are, with the reason."""
    sack = base.sack
    # Excludes of the configuration hide installed packages, too.
    installed: dict[str, list[Any]] = {}
    for package in sack.query(flags=hawkey.IGNORE_EXCLUDES).installed():
        installed.setdefault(package.name, []).append(package)
    patterns = wanted or ["*"]
    of_interest = {name for pattern in patterns for name in fnmatch.filter(installed, pattern)}
    reason_of = excluded(base)
    found = []
    explained = 0
    for package in sack.query(flags=hawkey.IGNORE_EXCLUDES).upgrades().latest():
        if package.name in changed or package.name not in of_interest:
            continue
        reason = reason_of(package)
        if not reason and explained < MOST_EXPLAINED:
            explained += 1
            reason = problem(base, package)
        entry = names(package)
        entry["old"] = evr(max(installed[package.name]))
        entry.update(new=evr(package), reason=reason or "its dependencies are not met")
        found.append(entry)
    return found


def excluded(base: Any) -> Any:
    """A function that tells of an available package why it is out of the question, or nothing."""
    sack = base.sack
    of_modules = {nevra(package) for package in sack.get_module_excludes()}
    by_all = list(sack.get_excludes())
    # Plugins come after the configuration and add to it: set up without them, what is missing is theirs.
    sack.reset_excludes()
    base._setup_excludes_includes()
    by_configuration = {nevra(package) for package in sack.get_excludes()}
    sack.set_excludes(by_all)
    by_plugins = {nevra(package) for package in by_all} - by_configuration
    plugins = [plugin.name for plugin in base._plugins.plugins]
    word = "versionlocked" if "versionlock" in plugins else "excluded by a plugin of dnf"

    def why(package: Any) -> str:
        name = nevra(package)
        if name in by_configuration:
            return "excluded"
        if name in by_plugins:
            return word
        return "modular" if name in of_modules else ""

    return why


def problem(base: Any, package: Any) -> str:
    """What the solver says when just this package is to be installed; empty if it could be."""
    goal = dnf.goal.Goal(base.sack)
    goal.install(select=dnf.selector.Selector(base.sack).set(pkg=[package]))
    if goal.run():
        return ""
    rules = [rule for rules in goal.problem_rules() for rule in rules]
    # The first of them says that what was asked for conflicts with itself.
    told = [rule for rule in rules if rule != "conflicting requests"]
    return "; ".join(told[:2])


def state(base: Any, question: "dict[str, Any]") -> "dict[str, Any]":
    """The last transaction if it did not end, which of its packages came, and duplicates."""
    # A repository that was never asked is no reason to leave an interrupted transaction as it is.
    set_up(base, ["--setopt=*.skip_if_unavailable=1", "list"], question["root"])
    everything = base.sack.query(flags=hawkey.IGNORE_EXCLUDES)
    installed = {nevra(package): package for package in everything.installed()}
    last = base.history.last()
    unfinished = last is not None and not last.end_timestamp
    came = [item.nevra for item in last.packages() if item.action in KINDS] if unfinished else []
    done = [installed[plain(name)] for name in came if plain(name) in installed]
    doubled = list(everything.duplicated())
    repositories = {}
    for package in done + doubled:
        same = everything.available().filter(name=package.name, arch=package.arch, evr=package.evr)
        for available in same:
            repositories[nevra(package)] = available.reponame
    return {
        "transaction": str(last.tid) if unfinished else "",
        "done": [nevra(package) for package in done],
        "duplicates": [nevra(package) for package in doubled],
        "repositories": repositories,
    }


def names(package: Any) -> "dict[str, Any]":
    """The beginning of every entry."""
    return {"name": package.name, "architecture": package.arch}


def evr(package: Any) -> str:
    """`[epoch:]version-release`, without an epoch of 0."""
    epoch = f"{package.epoch}:" if package.epoch else ""
    return f"{epoch}{package.version}-{package.release}"


def nevra(package: Any) -> str:
    """The name of a package with everything in it."""
    return f"{package.name}-{evr(package)}.{package.arch}"


def plain(name: str) -> str:
    """A NEVRA that may have an epoch of 0, without it."""
    head, _, rest = name.rpartition("-0:")
    return f"{head}-{rest}" if head else name


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Python would take all that dnf has read apart, piece by piece, before it ends.
    os._exit(status)
