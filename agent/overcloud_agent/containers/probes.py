"""What a node can ask a service from outside: does it answer, does it accept a connection. Not redirected, not proxied.

The node asks from its own network, so `127.0.0.1` is the node, also for a container that has a network of its own.
"""

from __future__ import annotations

import socket

from overcloud_agent.containers import addresses


def http(url: str, seconds: float) -> str | None:
    """None when `url` answers with 2xx or 3xx within `seconds`, else what it does instead, for people."""
    # Heavy, and few gates ask for it.
    import ssl

    import requests

    from overcloud_agent import web

    try:
        with web.session() as session, web.deadline(seconds):
            # Neither a proxy nor a password of the agent's environment is meant for a service of this node.
            session.trust_env = False
            # The node's own authorities, which are not those that come with requests.
            trusted = ssl.get_default_verify_paths()
            session.verify = trusted.cafile or trusted.capath or True
            answer = session.get(url, allow_redirects=False, stream=True, timeout=seconds)
            answer.close()
    except (requests.exceptions.RequestException, *web.READ_ERRORS, ValueError) as error:
        return f"{addresses.of_url(url).shown}: {web.words(error)}"
    if 200 <= answer.status_code < 400:
        return None
    return f"{addresses.of_url(url).shown} answered {answer.status_code}"


def tcp(target: str, seconds: float) -> str | None:
    """None when `host:port` accepts a connection within `seconds`, else why not, for people."""
    address = addresses.of_tcp(target)
    try:
        socket.create_connection((address.host, address.port), timeout=seconds).close()
    except socket.gaierror as error:
        return f"{target}: the name does not resolve: {error.strerror}"
    except TimeoutError:
        return f"{target}: no connection within {seconds:.3g} s"
    except OSError as error:
        return f"{target}: {(error.strerror or type(error).__name__).lower()}"
    return None
