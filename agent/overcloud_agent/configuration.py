"""The node's configuration out of its metadata: os-apply-config's templates, and where the metadata comes from."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

from overcloud_agent import errors, files, follow, merge, metadata, model, settings, templates

log = logging.getLogger(__name__)


class Configuration:
    """Renders what the metadata says. `problem` is why it could not, the last time; empty when it could."""

    def __init__(self, config: settings.Settings) -> None:
        self._config = config
        self._collect_file = config.os_collect_config_file
        self._templates = config.templates_dir
        self._output = config.templates_output_dir
        self.problem = ""
        self.applied = False
        """Whether it was tried to render anything yet."""
        self.rendered: list[str] = []

    def apply(self, paths: list[Path], listed: Mapping[str, merge.Listed]) -> bool:
        """Render everything; True when os-collect-config.conf is another one now.

        What cannot be rendered stays as it is, and is told in the log and to the deployments that ask for it.
        """
        before = _content(self._collect_file)
        self.applied = True
        try:
            config = templates.merged(paths, [entry.document for entry in listed.values()])
            self.rendered = templates.render(config, self._templates or templates.default_directory(), self._output)
            section = config.get("os-collect-config")
            if isinstance(section, dict) and not self._has_template():
                self._follow(section)
            self.problem = ""
        except errors.BadInput as error:
            if str(error) != self.problem:
                log.error("the configuration stays as it is: %s", error)
            self.problem = str(error)
        return _content(self._collect_file) != before

    def _has_template(self) -> bool:
        """Whether the node's templates make os-collect-config.conf themselves."""
        name = str(self._collect_file).lstrip("/")
        directory = self._templates or templates.default_directory()
        return (directory / name).exists()

    def _follow(self, section: dict[str, object]) -> None:
        before = _content(self._collect_file) or ""
        text = follow.apply(before, section)
        if text == before:
            return
        trial = self._collect_file.with_name(f".{self._collect_file.name}.trial")
        try:
            self._collect_file.parent.mkdir(parents=True, exist_ok=True)
            files.write(trial, text.encode(errors="surrogateescape"))
            # With a file that cannot be read the agent would not start any more, and Heat could not take it back.
            settings.load_collectors(dataclasses.replace(self._config, os_collect_config_file=trial))
            trial.rename(self._collect_file)
        except errors.SettingsError as error:
            raise errors.BadInput(error.message, path="$['os-collect-config']") from None
        except OSError as error:
            raise errors.BadInput(f"cannot write {self._collect_file}: {error.strerror}") from None
        finally:
            trial.unlink(missing_ok=True)
        log.info("wrote %s: Heat says where the metadata comes from", self._collect_file)

    def answer(self, deployment: model.Deployment) -> model.Result:
        """The result of a deployment whose config is metadata for the templates: how rendering them went.

        Raises BadInput when the deployment cannot be metadata.
        """
        metadata.template_key({"name": deployment.name, "config": deployment.config})
        if self.problem:
            return model.failed(self.problem)
        written = "".join(f"\n{path}" for path in self.rendered)
        return model.succeeded(f"os-apply-config: all templates are rendered{'; written:' if written else ''}{written}")


def _content(path: Path) -> str | None:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return None
