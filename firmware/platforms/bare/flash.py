"""Flash a direct-boot image: python flash.py PORT BAUD IMAGE

Direct boot needs an ESP32-C3 of revision 0.3 or later: an older one would start nothing and say nothing.
"""

import importlib.util
import re
import subprocess
import sys

FIRST_REVISION = (0, 3)


def main(port: str, baud: str, image: str) -> int:
    """Check the chip, then write the image to the start of the flash. Returns the exit status."""
    if importlib.util.find_spec("esptool") is None:
        sys.stderr.write(f"Error: esptool is not installed: {sys.executable} -m pip install esptool\n")
        return 2
    esptool = [sys.executable, "-m", "esptool", "--chip", "esp32c3", "--port", port, "--baud", baud]
    seen = subprocess.run([*esptool, "chip-id"], stdout=subprocess.PIPE, text=True, check=False)
    print(seen.stdout, end="", flush=True)
    if seen.returncode != 0:
        return seen.returncode
    revision = re.search(r"revision v(\d+)\.(\d+)", seen.stdout)
    if revision is None:
        sys.stderr.write("Error: esptool did not tell the chip's revision (expected `revision v0.3` or later)\n")
        return 2
    if (int(revision[1]), int(revision[2])) < FIRST_REVISION:
        sys.stderr.write(
            f"Error: this ESP32-C3 is of revision v{revision[1]}.{revision[2]}; direct boot needs v0.3 or later. "
            "Nothing was written.\n"
        )
        return 2
    return subprocess.run([*esptool, "write-flash", "0x0", image], check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} PORT BAUD IMAGE")
    sys.exit(main(*sys.argv[1:]))
