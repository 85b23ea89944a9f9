"""SoftwareComponents: several configs, each with its actions and its tool."""

from __future__ import annotations

from typing import Any

import pytest

from overcloud_agent import errors, model, runner


def component(action: str | None, *configs: object, **more: object) -> dict[str, Any]:
    inputs = [] if action is None else [{"name": "deploy_action", "type": "String", "value": action}]
    return {"id": "a", "group": "component", "config": {"configs": list(configs)}, "inputs": inputs, **more}


def config(tool: object, *actions: object, text: object = "text") -> dict[str, object]:
    return {"actions": list(actions), "tool": tool, "config": text}


SEVERAL = (config("script", "CREATE", "UPDATE"), config("puppet", "DELETE", text="d"), config("ansible", "UPDATE"))


@pytest.mark.parametrize(
    ("action", "tool", "text"),
    [("CREATE", "script", "text"), ("UPDATE", "script", "text"), ("DELETE", "puppet", "d")],
)
def test_the_first_config_for_the_action_is_run_by_its_tool(action: str, tool: str, text: str) -> None:
    chosen = model.chosen(component(action, *SEVERAL, name="n"))
    assert chosen
    assert (chosen["group"], chosen["config"], chosen["id"], chosen["name"]) == (tool, text, "a", "n")


@pytest.mark.parametrize("action", ["SUSPEND", "RESUME", "", None])
def test_there_may_be_nothing_to_do_for_an_action(action: str | None) -> None:
    """Defect 31: the reference never answers such a one."""
    assert model.chosen(component(action, *SEVERAL)) is None
    assert model.chosen(component(action)) is None


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({**component("CREATE"), "config": None}, "$.config.configs"),
        ({**component("CREATE"), "config": "text"}, "$.config.configs"),
        ({**component("CREATE"), "config": {"configs": {}}}, "$.config.configs"),
        (component("CREATE", None), "$.config.configs[0].actions"),
        (component("CREATE", config("script", "UPDATE"), {"tool": "script"}), "$.config.configs[1].actions"),
        (component("CREATE", {"actions": "CREATE", "tool": "script"}), "$.config.configs[0].actions"),
        (component("CREATE", config(None, "CREATE")), "$.config.configs[0].tool"),
        (component("CREATE", config(["script"], "CREATE")), "$.config.configs[0].tool"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(document: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        model.chosen(document)
    assert caught.value.path == path


def test_odd_actions_and_configs_cost_nothing() -> None:
    chosen = model.chosen(component("CREATE", config("x", None, 7, {}, []), config("script", "CREATE", text={"a": 1})))
    assert chosen
    assert chosen["config"] == {"a": 1}


def test_another_group_is_left_as_it_came() -> None:
    document = {"id": "a", "group": "script", "config": {"configs": "mine"}}
    assert model.chosen(document) is document


def test_whether_it_can_be_repeated_is_its_tools_matter() -> None:
    assert runner.is_repeatable(component("DELETE", *SEVERAL))
    assert not runner.is_repeatable(component("CREATE", *SEVERAL))
    assert runner.is_repeatable(component("CREATE", *SEVERAL, options={"on_interrupt": "rerun"}))
    assert runner.is_repeatable(component("CREATE", None)), "it is answered for what is wrong with it"
