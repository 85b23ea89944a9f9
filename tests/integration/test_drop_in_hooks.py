"""The hooks of heat-agents under ours, and ours under the reference 55-heat-config: unchanged, with one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
import places
from reference import node

TOOLS = "/var/lib/tools"
FAKE = f"{TOOLS}/config-tool-fake.py"
OUTPUTS = "/var/run/heat-config/outputs"
ANSWER = {"stdout": "said", "stderr": "told", "returncode": 2}

# What each of heat-agents' hooks is given. Their tools are heat-agents' own fake, but for os-apply-config.
CONFIGS: dict[str, Any] = {
    "script": "#!/bin/sh\necho $word; echo told >&2; printf r > $heat_outputs_path.result; exit 5\n",
    "puppet": "notify {'a':}",
    "ansible": "- hosts: all\n",
    "hiera": {"hierarchy": ["one"], "datafiles": {"one": {"a": 1}}},
    "json-file": {"/var/lib/made/by/json-file": {"b": [1, None]}},
    "apply-config": "",
    "chef": '["recipe[a]"]',
    "cfn-init": {"config": {"files": {}}},
    "docker-compose": {"db": {"image": "i"}},
    "docker-cmd": {"db": {"image": "i", "command": "run"}},
    "salt": {"a": {"test.nop": []}},
}

# The files and directories that they make, below which everything is compared.
MADE = ("/etc/puppet", "/var/lib/made", "/var/cache/heat-cfntools", "/var/lib/heat-config/heat-config-chef")

SALT = {
    "__init__.py": "",
    "config.py": "def minion_config(path):\n    return {}\n",
    "exceptions.py": "class SaltInvocationError(Exception):\n    pass\n",
    "cli/__init__.py": "",
    "cli/caller.py": "class Caller:\n    @staticmethod\n    def factory(opts):\n        return Caller()\n"
    "    def call(self):\n        return {'return': {'a': {'result': True}}, 'retcode': 0, 'result': 'r'}\n",
}


def furnish(machine: node.ReferenceNode) -> dict[str, str]:
    """Install every hook of heat-agents with its tool; returns the variables that name the tools."""
    for group in CONFIGS:
        machine.install_hook(group)
    fake = (machine.reference.agents / "tests" / "config-tool-fake.py").read_text()
    machine.write(FAKE, fake, 0o755)
    # Docker's real one prints on stdout, and its hook lets that through: test_heat_config has what follows from it.
    quiet = f'#!/bin/sh\nTEST_RESPONSE=\'{{"stderr": "told"}}\' exec {FAKE} "$@"\n'
    machine.write(f"{TOOLS}/docker", quiet, 0o755)
    machine.link(f"{TOOLS}/chef-client", Path(FAKE))
    # Its real one fails where a machine has no name that can be looked up.
    machine.write(f"{TOOLS}/hostname", "#!/bin/sh\necho node.example\n", 0o755)
    for name, text in SALT.items():
        machine.write(f"{TOOLS}/python/salt/{name}", text)
    machine.write("/usr/libexec/os-apply-config/templates/var/lib/made/by/apply-config", "{{missing}}applied\n")
    machine.path(OUTPUTS).mkdir(parents=True)
    files = {f"{OUTPUTS}/{group}.result": group for group in ("puppet", "ansible", "chef")}
    tools = {"PUPPET": FAKE, "ANSIBLE": FAKE, "CFN_INIT": FAKE, "DOCKER_COMPOSE": FAKE, "DOCKER": f"{TOOLS}/docker"}
    return {
        "PATH": f"{TOOLS}:{machine.environment['PATH']}",
        "PYTHONPATH": f"{TOOLS}/python",
        "TEST_STATE_PATH": f"{TOOLS}/called",
        "TEST_RESPONSE": json.dumps({**ANSWER, "files": files}),
        **{f"HEAT_{tool}_CMD": path for tool, path in tools.items()},
        **{f"HEAT_{tool}_OUTPUTS": OUTPUTS for tool in ("PUPPET", "ANSIBLE", "CHEF", "SCRIPT")},
    }


def calls(machine: node.ReferenceNode) -> list[Any]:
    """The arguments of every call of a tool, in order."""
    found = machine.path(TOOLS).glob("called*")
    ordered = sorted(found, key=lambda path: int(path.name.partition("_")[2] or 0))
    return [json.loads(path.read_text())["args"] for path in ordered]


def made(machine: node.ReferenceNode) -> dict[str, str]:
    """What the hooks wrote, by path."""
    root = machine.path("/")
    paths = [path for top in MADE for path in machine.path(top).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_text() for path in paths}


def answers(machine: node.ReferenceNode, *keys: str) -> dict[str, Any]:
    return {key: json.loads(machine.path(f"{node.DEPLOYED}/{key}.notify.json").read_text()) for key in keys}


def run_reference(machine: node.ReferenceNode, documents: list[dict[str, Any]], **env: str) -> dict[str, Any]:
    """What the reference 55-heat-config has of deployments, by id."""
    machine.write("/var/run/heat-config/heat-config", json.dumps(documents))
    machine.check_run([f"{node.CONFIGURE_D}/55-heat-config"], {"HEAT_CONFIG_NOTIFY": "/bin/true", **env})
    return answers(machine, *(document["id"] for document in documents))


def test_every_hook_of_heat_agents_answers_the_same(heat: heatlike.HeatLike, tmp_path: Path) -> None:
    inputs = [{"name": "word", "type": "String", "value": "a word"}]
    documents = [
        heat.deployment(group, group, config, inputs=inputs, outputs=[{"name": "result", "type": "String"}])
        for group, config in CONFIGS.items()
    ]
    with node.ReferenceNode(tmp_path / "reference") as machine:
        env = furnish(machine)
        # As the daemon would before.
        machine.write("/var/lib/os-collect-config/os_config_files.json", "[]")
        wanted = run_reference(machine, documents, **env)
        reference = (calls(machine), made(machine))
    with node.ReferenceNode(tmp_path / "ours") as machine:
        env = furnish(machine)
        occ = {"collectors": ["cfn"], "cfn": nodes.cfn_section(heat.url)}
        heat.metadata = {"deployments": documents, "os-collect-config": occ}
        machine.configure(occ)
        machine.start([str(places.BIN / "overcloud-agent"), "run"], env)
        signals = {group: heat.signal(group) for group in CONFIGS}
        ours = (calls(machine), made(machine))
        found = answers(machine, *CONFIGS)
    # The scripts' and the templates' own logs begin with the time.
    for body in (wanted, found):
        body["apply-config"]["deploy_stderr"] = body["apply-config"]["deploy_stderr"].count("[INFO]")
    assert found == wanted
    assert signals["puppet"] == found["puppet"]
    assert ours == reference
    # None of them is the same by having done nothing.
    assert found["script"]["deploy_status_code"] == 5
    assert (found["puppet"]["deploy_status_code"], found["puppet"]["result"]) == (0, "puppet")
    assert found["ansible"] == {**found["cfn-init"], "result": "ansible"}
    assert found["salt"]["result"] == "r"
    assert found["chef"] == {**found["cfn-init"], "result": "chef"}
    assert [call[1] for call in ours[0] if len(call) > 1] == ["apply", "-i", "-z", "up", "inspect", "run"]
    assert set(ours[1]) > {"var/lib/made/by/json-file", "etc/puppet/hieradata/one.json"}


@pytest.mark.parametrize("hook", ["script", "container-upgrade"])
def test_our_hooks_run_under_the_reference(heat: heatlike.HeatLike, tmp_path: Path, hook: str) -> None:
    script = '#!/bin/sh\necho "$word"; printf r > $heat_outputs_path.result\n'
    config: object = script if hook == "script" else {"api": {"imagee": "typo"}}
    inputs = [{"name": "word", "type": "String", "value": "a word"}]
    outputs = [{"name": "result", "type": "String"}]
    with node.ReferenceNode(tmp_path) as machine:
        machine.link(f"{node.HOOKS}/{hook}", places.BIN / hook)
        document = heat.deployment("one", hook, config, inputs=inputs, outputs=outputs)
        answer = run_reference(machine, [document])["one"]
    if hook == "script":
        assert answer == {"deploy_stdout": "a word\n", "deploy_stderr": "", "deploy_status_code": 0, "result": "r"}
    else:
        assert answer["deploy_status_code"] == 2
        assert "imagee" in answer["deploy_stderr"]
