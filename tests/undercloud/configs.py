"""Write the configuration files: Keystone's, Heat's, Keystone's keys, and the user's openrc.

Those of the optional services are in optional.py.

Each setting that is there for a reason that is not plain says so in the file itself.
"""

import base64
import secrets
from pathlib import Path

from undercloud import layout as layouts
from undercloud import state as states
from undercloud import tools

REGION = "RegionOne"

_KEYSTONE = """\
[DEFAULT]
use_stderr = true

[database]
connection = {database}
# Losing the last second at a power cut does not matter here; waiting for the disk does.
sqlite_synchronous = false

[token]
provider = fernet
# A token outlives a long session at the keyboard (seconds).
expiration = 86400

[fernet_tokens]
key_repository = {fernet_keys}

[fernet_receipts]
# Its default lies in /etc, and Keystone does not start when that is missing.
key_repository = {fernet_keys}

[credential]
key_repository = {credential_keys}
{auth_ttl}
[identity]
# The default, 12, costs a quarter of a second of processor time per password check.
password_hash_rounds = 4
# What bcrypt can take; with a higher limit Keystone logs a warning for every password check.
max_password_length = 72

[cache]
# 0.02 s a call instead of 0.35 s.  The cache is in this process, so there must be only one.
enabled = true
backend = dogpile.cache.memory
"""

_AUTH_TTL = """\
# Minutes for which a signed request of a node is taken for fresh (Keystone's default is 15).
auth_ttl = {minutes}
"""

_HEAT = """\
[DEFAULT]
# Works within one process only: engine, API and CFN API share one.
transport_url = fake://
host = undercloud
auth_encryption_key = {encryption_key}
heat_metadata_server_url = {cfn_root}
# Heat derives the address that nodes signal to from this one.
heat_waitcondition_server_url = {cfn_root}/v1/waitcondition
stack_user_domain_name = heat
stack_domain_admin = heat_domain_admin
stack_domain_admin_password = {stack_domain_admin}
heat_stack_user_role = heat_stack_user
deferred_auth_method = trusts
# Empty: a stack's trust carries all roles of its owner, so any member can make stacks.
trusts_delegated_roles =
region_name_for_services = {region}
num_engine_workers = 1
max_resources_per_stack = -1
environment_dir = {share}/environment.d
template_dir = {share}/templates
use_stderr = true

[paste_deploy]
api_paste_config = {share}/api-paste.ini

[database]
connection = {database}
sqlite_synchronous = false

[keystone_authtoken]
www_authenticate_uri = {keystone_url}
{credentials}project_name = service
project_domain_id = default

[trustee]
{credentials}
[clients_keystone]
auth_uri = {keystone_root}

[ec2authtoken]
auth_uri = {keystone_url}
# Keystone from 28.1 on refuses anonymous requests to /v3/ec2tokens, so Heat needs a user here.
{credentials}project_name = service
project_domain_id = default
region_name = {region}

[oslo_policy]
# With the new defaults the CFN API answers 403 to every node: Heat checks its rules against an
# empty target, and "role:heat_stack_user and project_id:%(project_id)s" can then never match.
enforce_new_defaults = false
enforce_scope = false
"""

_CREDENTIALS = """\
auth_type = password
auth_url = {keystone_url}
username = {name}
password = {password}
user_domain_id = default
"""


def write(layout: layouts.Layout, state: states.State) -> None:
    """Write all files for this state, with mode 0600; existing keys stay."""
    layouts.write_private(layout.config("keystone"), _keystone(layout, state))
    layouts.write_private(layout.config("heat"), _heat(layout, state))
    for repository in (_fernet_keys(layout), _credential_keys(layout)):
        _make_keys(repository)
    layouts.write_private(layout.openrc_file, openrc_text(layout, state))


def openrc(state: states.State) -> dict[str, str]:
    """Return the environment that makes the openstack client the ordinary user ``demo``."""
    return {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": state.keystone_url,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": REGION,
        "OS_USERNAME": "demo",
        "OS_PASSWORD": state.secrets.demo,
        "OS_PROJECT_NAME": "demo",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "no_proxy": f"{tools.LOOPBACK},{state.address}",
        "NO_PROXY": f"{tools.LOOPBACK},{state.address}",
    }


def openrc_text(layout: layouts.Layout, state: states.State) -> str:
    """Return the same as shell commands, which put the client on PATH too."""
    exports = [f"export {name}='{value}'" for name, value in openrc(state).items()]
    path = f"export PATH='{layout.venv / 'bin'}':\"$PATH\""
    return "\n".join([*exports, path, ""])


def credentials(state: states.State, name: str, password: str) -> str:
    """Return the settings with which a service asks Keystone about tokens."""
    return _CREDENTIALS.format(keystone_url=state.keystone_url, name=name, password=password)


def _keystone(layout: layouts.Layout, state: states.State) -> str:
    minutes = state.auth_ttl
    return _KEYSTONE.format(
        database=_connection(layout.database("keystone")),
        fernet_keys=_fernet_keys(layout),
        credential_keys=_credential_keys(layout),
        auth_ttl="" if minutes is None else _AUTH_TTL.format(minutes=minutes),
    )


def _heat(layout: layouts.Layout, state: states.State) -> str:
    return _HEAT.format(
        database=_connection(layout.database("heat")),
        encryption_key=state.secrets.heat_encryption_key,
        stack_domain_admin=state.secrets.stack_domain_admin,
        cfn_root=state.cfn_root,
        keystone_url=state.keystone_url,
        keystone_root=state.keystone_root,
        region=REGION,
        share=layout.venv / "etc" / "heat",
        credentials=credentials(state, "heat", state.secrets.heat_service),
    )


def _connection(database: Path) -> str:
    # The timeout, in seconds, is how long a transaction waits for the write lock.
    return f"sqlite:///{database}?timeout=30"


def _fernet_keys(layout: layouts.Layout) -> Path:
    return layout.etc / "fernet-keys"


def _credential_keys(layout: layouts.Layout) -> Path:
    return layout.etc / "credential-keys"


def _make_keys(repository: Path) -> None:
    """Fill a key repository as ``keystone-manage fernet_setup`` does, without its three seconds.

    The file with the highest number is the key in use, 0 the one that would follow it.
    """
    repository.mkdir(mode=0o700, exist_ok=True)
    for number in ("0", "1"):
        key = repository / number
        if not key.exists():
            text = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii")
            layouts.write_private(key, text)
