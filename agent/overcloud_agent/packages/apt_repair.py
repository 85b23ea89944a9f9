"""What ends a transaction of dpkg or apt that was cut off, before apt is asked to do the rest."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from overcloud_agent.packages import dpkg

# dpkg ends what it has begun, else apt refuses to work; what it cannot end, apt may: it fetches what is missing.
_CONFIGURE = "dpkg --force-confdef --force-confold --configure -a"

# A package whose configuration fails is mended by its next version, if there is one by now: apt is asked for that, too.
_ASK_FOR_NEXT = """{
    apt-get -q -oAcquire::AllowInsecureRepositories=false update || :
    for name in $(dpkg-query -W -f '${db:Status-Want} ${db:Status-Status} ${binary:Package}\\n' |
        sed -n 's/^install half-configured //p'); do
        if apt-cache policy "$name" | awk '/Installed:/ { old = $2 } /Candidate:/ { exit old == $2 }'; then
            set -- "$@" "$name"
        fi
    done
}"""

# Of removals that were cut off dpkg does so only if it is told, and apt not without leave to remove anything. What
# needed such a package is what the transaction would have changed next: apt mends that.
_REMOVE = "dpkg --force-depends"


def script(broken: Collection[dpkg.Entry]) -> str:
    """For `sh`, whose arguments are the command of apt that comes last; `broken` is what is half installed."""
    steps = [f"{_CONFIGURE} || {_ASK_FOR_NEXT}"]
    for want, verb in (("deinstall", "--remove"), ("purge", "--purge")):
        leaving = [f"{entry.name}:{entry.architecture}" for entry in broken if entry.want == want]
        steps += [f"{_REMOVE} {verb} {shlex.join(leaving)} || :"] if leaving else []
    return "\n".join([*steps, 'exec "$@"'])


def again(broken: Collection[dpkg.Entry]) -> list[str]:
    """What apt must install once more: dpkg was killed before or while it unpacked these.

    Neither tool does anything about it unless it is told. A held package keeps its version.
    """
    return [
        f"{entry.name}:{entry.architecture}" + (f"={entry.version}" if entry.want == "hold" else "")
        for entry in broken
        if entry.want in ("install", "hold")
    ]
