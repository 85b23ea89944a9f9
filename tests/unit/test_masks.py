"""What of a config is concealed where others can see it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from overcloud_agent.containers import masks, spec

CONFIG = {
    "image": "registry/api:1",
    "environment": ["MODE=loud", "DB=mysql://api:swordfish@db/api"],
    "command": ["api", "--password", "swordfish", "--listen", "8774"],
    "healthcheck": {"test": "curl http://probe:swordfish@127.0.0.1/"},
    "upgrade": {"drain": [["leave", "--token=swordfish"]], "migrate": [["db", "sync"]]},
}


def concealed(config: Mapping[str, object]) -> dict[str, object]:
    return masks.conceal(spec.written(spec.parse({"web": config})["web"]))


def test_no_secret_is_left_and_the_rest_can_be_read() -> None:
    text = json.dumps(concealed(CONFIG))
    assert "swordfish" not in text
    assert "loud" not in text, "any value of the environment may be one"
    for plain in ("registry/api:1", "8774", "db", "sync", "--listen", "curl http://"):
        assert plain in text


def test_what_is_left_is_a_config_still() -> None:
    assert spec.parse({"web": concealed(CONFIG)})["web"].image == "registry/api:1"


def test_equal_secrets_stay_equal_and_others_differ() -> None:
    assert concealed(CONFIG) == concealed(json.loads(json.dumps(CONFIG)))
    other = {**CONFIG, "environment": ["MODE=quiet", "DB=mysql://api:swordfish@db/api"]}
    assert concealed(other) != concealed(CONFIG)


def test_a_mark_is_not_shown() -> None:
    (mark,) = [value for value in [concealed({"image": "a", "command": ["--token=abcdef12"]})["command"]]
               if isinstance(value, list)]  # fmt: skip
    assert masks.shown("command", mark, ()) == ["--token=***"]
