"""SCons for PlatformIO from PyPI, so that a build needs nothing from PlatformIO's registry.

PlatformIO runs its builds in a package of its own, tool-scons, which is PyPI's scons under another version number.
"""

import json
import shutil
import tempfile
from importlib import metadata, util
from pathlib import Path

from platformio.dependencies import get_core_dependencies
from platformio.package.manager.tool import ToolPackageManager
from platformio.package.meta import PackageSpec
from platformio.package.version import cast_version_to_semver

LAUNCHER = """\
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from SCons.Script.Main import main

main()
"""


def provide() -> None:
    """Install tool-scons from the environment's scons, unless PlatformIO has it or wants another version."""
    manager = ToolPackageManager()
    spec = PackageSpec(owner="platformio", name="tool-scons", requirements=get_core_dependencies()["tool-scons"])
    if manager.get_package(spec):
        return
    found = util.find_spec("SCons")
    if found is None or not found.submodule_search_locations:
        return
    version = _platformio_version(metadata.version("scons"))
    if cast_version_to_semver(version) not in spec.requirements:
        return
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        shutil.copytree(
            found.submodule_search_locations[0],
            package / "SCons",
            ignore=shutil.ignore_patterns("__pycache__", "*Tests.py", "docbook"),
        )
        (package / "scons.py").write_text(LAUNCHER)
        manifest = {"name": spec.name, "version": version, "description": "PyPI's scons"}
        (package / "package.json").write_text(json.dumps(manifest))
        manager.lock()
        try:
            manager.install_from_uri(f"file://{package}", spec)
        finally:
            manager.unlock()
        manager.memcache_reset()


def _platformio_version(scons: str) -> str:
    """4.11.1 is 4.41101.0 there."""
    major, minor, patch = (int(part) for part in [*scons.split("."), "0"][:3])
    return f"{major}.{major}{minor:02}{patch:02}.0"
