"""PlatformIO's extra script that puts the agent bundle into the firmware (its bundle.S).

Option custom_bundle: the bundle's path, from the project's root. The environment variable UTTERBIT_BUNDLE overrides it.
"""

import os
import re
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

from SCons.Script import COMMAND_LINE_TARGETS, Import

Import("env")
env: Any = globals()["env"]

bundle = Path(env["PROJECT_DIR"], os.environ.get("UTTERBIT_BUNDLE") or env.GetProjectOption("custom_bundle")).resolve()
needed = not env.IsCleanTarget() and not {"compiledb", "__idedata"} & set(COMMAND_LINE_TARGETS)
if needed and not bundle.is_file():
    sys.stderr.write(
        f"Error: {bundle}: there is no agent bundle to put into the firmware. `make agent` makes it; "
        "custom_bundle in platformio.ini or the environment variable UTTERBIT_BUNDLE names another file.\n"
    )
    env.Exit(1)


def warn_of_a_stranger() -> None:
    """Say so if the firmware will refuse the bundle: it is no error, for another agent may come over the line."""
    layout = Path(env["PROJECT_DIR"], "firmware", "agent", "bundle_format.h").read_text(encoding="utf-8")
    magic, version = (int(re.search(rf"#define {name} (\w+)", layout)[1], 0) for name in ("UB_MAGIC", "UB_VERSION"))
    header = bundle.read_bytes()[:16]
    found = struct.unpack("<IIIHH", header) if len(header) == 16 else (0,)
    if found[0] != magic:
        what = "it is no agent bundle"
    elif found[3] != version:
        what = f"its format is version {found[3]}, the firmware's {version}; `python -m convert` writes it anew"
    else:
        return
    sys.stderr.write(f"Warning: {bundle}: the firmware will run without an agent: {what}.\n")


if needed:
    warn_of_a_stranger()


def embed(env: Any, node: Any) -> Any:
    """Compile bundle.S with the bundle's path; SCons builds it anew when the bundle's content changes."""
    defines = [*env.get("CPPDEFINES", []), ("UB_BUNDLE_FILE", env.StringifyMacro(str(bundle)))]
    compiled = env.Object(node, CPPDEFINES=defines)
    env.Depends(compiled, env.File(str(bundle)))
    return compiled


def embed_by_cmake() -> None:
    """Name CMake a copy that keeps its path, so that another bundle needs no new configuration, only bundle.S anew."""
    copy = Path(env.subst("$BUILD_DIR"), "agent.bundle")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle, copy)
    os.environ["UTTERBIT_BUNDLE"] = str(copy)
    env.Depends("$BUILD_DIR/firmware/agent/idf/bundle.S.o", env.File(str(copy)))


if "espidf" not in env.GetProjectOption("framework", []):
    env.AddBuildMiddleware(embed, "*bundle.S")
elif needed:
    embed_by_cmake()
