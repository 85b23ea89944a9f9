"""CFN_SIGNAL and TEMP_URL_SIGNAL: send the body to a pre-signed URL, verbatim.

The signature covers host, path and query, so the URL is used as it came (heat/engine/resources/signal_responder.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib import parse

import requests

from overcloud_agent import redact, web
from overcloud_agent.signals import verdict

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def send(
    session: requests.Session, verb: str, url: str, body: bytes, *, timeout: float, ca_certificate: str | None
) -> verdict.Verdict:
    """Send `body` (JSON) and judge the answer.

    `timeout` is for all of it, in seconds; `ca_certificate` is a file to verify TLS with instead of the system's.
    """
    where = redact.endpoint(url)
    try:
        with web.deadline(timeout):
            answer = session.request(
                verb,
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=timeout,
                # A redirect would send the signed URL's body to a place that Heat did not name.
                allow_redirects=False,
                verify=ca_certificate or True,
                stream=True,
            )
            web.drop(answer)
    # A URL that makes no sense: requests has several ValueErrors of its own for that, and lets urllib3's pass.
    except ValueError:
        return verdict.refused("deploy_signal_id is not an http or https URL")
    except (requests.exceptions.RequestException, *web.READ_ERRORS) as error:
        return verdict.silence(f"{where}: {web.words(error)}")
    return verdict.of_status(answer.status_code, where, retry_after=answer.headers.get("Retry-After", ""))


def sign_again(url: str, access_key_id: str, secret_access_key: str, *, now: datetime | None = None) -> str:
    """The same CFN URL, signed anew with another key pair (AWS signature version 2).

    Heat verifies over the path as its web framework has decoded it, and over the Host header, which has no port where
    it is the scheme's own.
    """
    # os-collect-config brings keystoneclient; it is only loaded when a URL has expired.
    from keystoneclient.contrib.ec2 import utils

    parts = parse.urlsplit(url)
    params = {
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        "AWSAccessKeyId": access_key_id,
        "Timestamp": (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    request = {
        "host": parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, "")),
        "verb": "POST",
        "path": parse.unquote(parts.path),
        "params": params,
    }
    # A signer goes on from what it signed before, so each request has its own.
    params["Signature"] = utils.Ec2Signer(secret_access_key).generate(request)
    return parse.urlunsplit(parts._replace(query=parse.urlencode(params)))
