"""Write the configuration files of the optional services: Swift's, Zaqar's, and Redis's for Zaqar."""

from undercloud import configs
from undercloud import layout as layouts
from undercloud import state as states

_SWIFT_HASH = """\
[swift-hash]
swift_hash_path_prefix = undercloud
swift_hash_path_suffix = undercloud

[storage-policy:0]
name = only
default = yes
"""

_SWIFT_DEFAULT = """\
[DEFAULT]
bind_ip = {address}
bind_port = {port}
swift_dir = {directory}
devices = {devices}
mount_check = false
# Swift would refuse objects on a disk that is 99 % full.
fallocate_reserve = 0
log_name = swift-{name}
# Swift logs to a syslog whatever one says: to nobody's port, and to the service's log.
log_udp_host = {address}
log_udp_port = 9

"""

_SWIFT_SERVER = """\
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
# A server behind the proxy would write the URL that the proxy was asked for, signature and all.
log_requests = false
"""

_SWIFT_PROXY = """\
[pipeline:main]
# A request with a TempURL is settled before anybody asks for a token.
pipeline = catch_errors gatekeeper healthcheck tempurl authtoken keystoneauth versioned_writes proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:tempurl]
use = egg:swift#tempurl

[filter:versioned_writes]
use = egg:swift#versioned_writes
# Heat asks for versions in the containers of its signals.
allow_versioned_writes = true

[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {keystone_url}
{credentials}project_name = service
project_domain_id = default
delay_auth_decision = true

[filter:keystoneauth]
use = egg:swift#keystoneauth
# Any member of a project may use its account, and set the key of its TempURLs, which Heat does for it.
operator_roles = admin, member
"""

_ZAQAR = """\
[DEFAULT]
auth_strategy = keystone
pooling = false
admin_mode = true
# Says that a store that may lose messages will do.
unreliable = true
# What heat-config-notify speaks.
enable_deprecated_api_versions = 1.1

[drivers]
# serve_zaqar.py sets the transport.
# Its SQL migrations do not run on SQLite; Redis needs none.
management_store = redis
message_store = redis

[drivers:management_store:redis]
uri = {redis}

[drivers:message_store:redis]
uri = {redis}

[storage]
# Without it no subscriber is ever told of a message, and nothing says so.
message_pipeline = zaqar.notification.notifier

[drivers:transport:websocket]
bind = {address}
port = {websocket_port}
# Where the process with the HTTP API says what was posted, for the clients of this one.
notification_bind = {address}
notification_port = {notification_port}

[signed_url]
secret_key = {signing_key}

[oslo_policy]
enforce_new_defaults = false
enforce_scope = false

[keystone_authtoken]
www_authenticate_uri = {keystone_url}
{credentials}project_name = service
project_domain_id = default
"""

_REDIS = """\
bind {address}
port {port}
requirepass {password}
dir "{directory}"
# Queues and messages outlive a stop, as everything else does.
appendonly yes
appendfsync no
save ""
daemonize no
"""


def write(layout: layouts.Layout, state: states.State) -> None:
    """Write the files of those that this undercloud has, with mode 0600."""
    if state.swift:
        _write_swift(layout, state, state.swift)
    if state.zaqar:
        layouts.make_private(layout.messages)
        layouts.write_private(layout.config("redis"), _redis(layout, state.zaqar))
        layouts.write_private(layout.config("zaqar"), _zaqar(state, state.zaqar))


def _write_swift(layout: layouts.Layout, state: states.State, swift: states.Swift) -> None:
    layouts.make_private(layout.swift)
    layouts.make_private(layout.objects)
    layouts.write_private(layout.swift / "swift.conf", _SWIFT_HASH)
    credentials = configs.credentials(state, "swift", swift.password)
    proxy = _SWIFT_PROXY.format(keystone_url=state.keystone_url, credentials=credentials)
    servers = {
        "object": (swift.object_port, _SWIFT_SERVER.format(name="object")),
        "container": (swift.container_port, _SWIFT_SERVER.format(name="container")),
        "account": (swift.account_port, _SWIFT_SERVER.format(name="account")),
        "proxy": (swift.port, proxy),
    }
    for name, (port, text) in servers.items():
        default = _SWIFT_DEFAULT.format(
            address=layouts.ADDRESS, port=port, directory=layout.swift, devices=layout.objects.parent, name=name
        )
        layouts.write_private(layout.swift / f"{name}.conf", default + text)


def _zaqar(state: states.State, zaqar: states.Zaqar) -> str:
    return _ZAQAR.format(
        # The default, 0.1 s, is too short for a machine that is busy; the API then answers 500.
        redis=f"redis://:{zaqar.redis_password}@{layouts.ADDRESS}:{zaqar.redis_port}?socket_timeout=10",
        address=layouts.ADDRESS,
        websocket_port=zaqar.websocket_port,
        notification_port=zaqar.notification_port,
        signing_key=zaqar.signing_key,
        keystone_url=state.keystone_url,
        credentials=configs.credentials(state, "zaqar", zaqar.password),
    )


def _redis(layout: layouts.Layout, zaqar: states.Zaqar) -> str:
    return _REDIS.format(
        address=layouts.ADDRESS,
        port=zaqar.redis_port,
        password=zaqar.redis_password,
        directory=layout.messages,
    )
