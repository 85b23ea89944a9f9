"""Tell Heat one result, now if possible: what heat-config-notify does."""

from __future__ import annotations

import logging
import threading
import time

from overcloud_agent import fit, journal, merge, model, settings
from overcloud_agent.signals import access, outbox

log = logging.getLogger(__name__)

# Try later (sysexits.h).
_TRY_LATER = 75

_SOURCE = "heat-config-notify"

# No id ends like this, so it is nobody else's.
_BESIDE = " (heat-config-notify)"


def deliver(config: settings.Settings, document: object, body: dict[str, object]) -> int:
    """Deliver `body` as the result of `document`; the exit status that heat-config-notify has for it.

    It goes through the journal, together with what earlier calls had to leave there. Raises JournalError.
    """
    target = model.target_of(document)
    if target is None:
        return 0
    key = model.identify(document)
    told = model.Result(body=body, ok=model.claims_success(body))
    result = fit.fitted(told, limit=fit.max_body(target), reasons=model.error_outputs(document))
    settled = threading.Event()
    own = outbox.Outbox(
        config.state_dir, timeout=config.signal_timeout, retry_max=config.signal_retry_max, settled=settled.set
    )
    own.access = access.of(config, settings.load_collectors(config, collecting=False))
    book = journal.Journal.open(config.state_dir)
    try:
        if book.state(key) in ("received", "running"):
            # Called on behalf of the 55-heat-config that runs it just now, and goes on with its own entry.
            key = f"{key}{_BESIDE}"
        # Told again, it is sent again: whoever calls this by hand wants just that.
        book.forget([key])
        created = model.plain(str(document.get("creation_time", ""))) if isinstance(document, dict) else ""
        listed = merge.Listed(source=_SOURCE, document=document, lineage=model.lineage(document), created=created)
        book.receive({_SOURCE: {key: listed}}, {key: (result, [target])}, partial=True)
        own.start()
        return _await_end(book, key, settled, time.monotonic() + config.deliver_within)
    finally:
        own.stop(config.signal_timeout)
        book.close()


def _await_end(book: journal.Journal, key: str, settled: threading.Event, deadline: float) -> int:
    while (state := book.state(key)) == "finished":
        if not settled.wait(max(deadline - time.monotonic(), 0.0)):
            log.error("%s: Heat could not be told yet; a later call tries again", key)
            return _TRY_LATER
        settled.clear()
    return 0 if state == "signalled" else 1
