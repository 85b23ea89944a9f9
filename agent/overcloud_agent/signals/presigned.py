"""CFN_SIGNAL and TEMP_URL_SIGNAL: send the body to a pre-signed URL, verbatim.

The signature covers host, path and query, so the URL is used as it came (heat/engine/resources/signal_responder.py).
"""

from __future__ import annotations

import requests

from overcloud_agent import model, redact
from overcloud_agent.signals import verdict

# Kept open between signals: a node answers the same endpoint for all its deployments.
Session = requests.Session


def send(
    session: requests.Session, target: model.Target, body: bytes, *, timeout: float, ca_certificate: str | None
) -> verdict.Verdict:
    """Send `body` (JSON) and judge the answer.

    `timeout` in seconds bounds connecting and each read; `ca_certificate` is a file to verify TLS with instead of the
    system's.
    """
    try:
        answer = session.request(
            target.verb,
            target.url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=timeout,
            # A redirect would send the signed URL's body to a place that Heat did not name.
            allow_redirects=False,
            verify=ca_certificate or True,
        )
    # A URL that makes no sense: requests has several ValueErrors of its own for that, and lets urllib3's pass.
    except ValueError:
        return verdict.refused("deploy_signal_id is not an http or https URL")
    except requests.exceptions.RequestException as error:
        return verdict.retry(f"{redact.endpoint(target.url)}: {type(error).__name__}")
    return verdict.of_status(answer.status_code, redact.endpoint(target.url))
