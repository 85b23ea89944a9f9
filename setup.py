"""Packaging. `agent/` is a source root: it holds the import package overcloud_agent."""

from pathlib import Path

import setuptools

HOOKS = sorted(str(path) for path in Path("hooks").iterdir() if not path.suffix)
SCHEMAS = sorted(str(path) for path in Path("hooks").glob("*.json"))
PLANS = sorted(str(path) for path in Path("docs").glob("*.schema.json"))

setuptools.setup(
    name="overcloud-agent",
    version="0.1.0",
    description="The node side of Heat software deployments: container upgrades, updates, and sure signals",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"": "agent"},
    packages=setuptools.find_packages("agent"),
    package_data={"overcloud_agent": ["py.typed", "packages/data/*.yaml"]},
    scripts=HOOKS,
    data_files=[
        ("share/overcloud-agent/hooks", SCHEMAS),
        ("share/overcloud-agent", ["docs/overcloud-agent.service", *PLANS]),
        ("share/man/man8", ["docs/man/overcloud-agent.8"]),
    ],
    entry_points={
        "console_scripts": [
            "overcloud-agent = overcloud_agent.cli:main",
            # What heat-agents installs under these names; to be linked into their places.
            "55-heat-config = overcloud_agent.heat_config:main",
            "heat-config-notify = overcloud_agent.heat_config:notify",
            "heat-config-rebuild-deployed = overcloud_agent.heat_config:rebuild_deployed",
        ]
    },
    install_requires=[
        "click>=8.1",
        "keystoneauth1>=5",
        "msgspec>=0.18",
        "os-apply-config>=14",
        "os-collect-config>=14",
        "oslo.config>=9",
        "podman>=5.4",
        "psutil>=5.9",
        "python-keystoneclient>=5",
        "PyYAML>=6",
        "requests>=2.31",
        "rich>=13",
        "websocket-client>=1.5",
    ],
    extras_require={
        "test": [
            "build==1.3.0",
            "diskimage-builder==3.43.0",
            "hypothesis>=6",
            "jsonschema>=4",
            "mypy==2.4.1",
            "pytest==9.2.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.7",
            "python-heatclient>=4",
            "ruff==0.17.6",
            "types-psutil",
            "types-PyYAML",
            "types-requests",
        ]
    },
)
