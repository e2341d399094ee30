"""A simulated ESP32-C3 behind a pseudo-terminal: ``python -m host.simulator firmware.elf``.

Prints the terminal's path on the first line of standard output, then runs until its standard input closes, so
that it never outlives the program that started it. A line there is a press of the reset button. An ordinary
serial client opens the path and talks to the chip.

The simulator (labwired) executes one instruction a cycle and advances only when told to. It runs as fast as
it can while a line waits for its reply, and hardly at all in between. The agent's own times are not touched
by any of this: the firmware reads them from the chip's cycle counter.
"""

import argparse
import os
import re
import select
import sys
import tempfile
import tty
from pathlib import Path

from host.protocol import Decoder, Hello, Reply
from train.command_line import reporting
from train.errors import UserError

# Simulated seconds that the chip runs between two looks at the line; about 3 ms of real time.
SLICE = 0.0001

# Real seconds between slices while nothing is asked: an idle chip costs a few per cent of one core.
IDLE_WAIT = 0.1

# Simulated seconds after which a line is taken to stay without a reply.
REPLY_LIMIT = 2.0

# UART_CLKDIV of UART0 (ESP32-C3 Technical Reference Manual, chapter UART). The simulator paces what the chip
# sends by it: 8.7 ms for 100 bytes at 115200 baud, in which the chip executes 1.4 million instructions of
# waiting. A divider of one takes that wait away.
UART_CLKDIV = 0x60000014


# What the firmware touches (firmware/boards/c3), of the 40 peripherals that labwired's ESP32-C3 has. Every
# one costs time with every instruction: 4.5 million instructions a second with all of them, 6.5 with these.
PERIPHERALS = frozenset({"uart0", "spi0", "rtc_cntl", "timg0", "timg1", "systimer", "system", "usb_device"})


def describe_chip(folder: Path) -> Path:
    """Write labwired's own ESP32-C3, less the peripherals that the firmware has no use for; the system's
    file.
    """
    import labwired
    import yaml

    chips = Path(labwired.__file__).parent / "configs" / "chips"
    chip = yaml.safe_load((chips / "esp32c3.yaml").read_text(encoding="utf-8"))
    chip["peripherals"] = [item for item in chip["peripherals"] if item["id"] in PERIPHERALS]
    for item in chip["peripherals"]:
        item["config"] = {key: str((chips / path).resolve()) for key, path in item["config"].items()}
    (folder / "chip.yaml").write_text(yaml.safe_dump(chip), encoding="utf-8")
    system = folder / "system.yaml"
    system.write_text(yaml.safe_dump({"name": "esp32c3", "chip": str(folder / "chip.yaml")}), encoding="utf-8")
    return system


def simulate(elf: Path) -> None:
    """Run the firmware until standard input closes. Raises UserError if it cannot be loaded."""
    from labwired import Sim

    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)

    def power_up() -> Sim:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return Sim(str(elf), system=describe_chip(Path(folder)), uart="uart0")
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{elf} cannot be simulated: {error}") from None

    chip = power_up()
    # The slave stays open here: otherwise the terminal would hang up whenever a client closes it.
    print(os.ttyname(slave), flush=True)

    replies = Decoder()
    awaited, quiet, begun = 1, 0.0, b""
    while True:
        readable = select.select([master, sys.stdin], [], [], 0 if awaited else IDLE_WAIT)[0]
        if sys.stdin in readable:
            if not os.read(sys.stdin.fileno(), 4096):
                return
            chip = power_up()
            awaited, quiet, begun = 1, 0.0, b""
        if master in readable:
            data = os.read(master, 4096)
            chip.send_bytes(data)
            *lines, begun = re.split(rb"[\r\n]", begun + data)
            awaited, quiet = awaited + sum(bool(line.strip()) for line in lines), 0.0
        chip.run_for(SLICE)
        sent = chip.read_uart_bytes()
        for line in replies.feed(sent):
            if isinstance(line, Hello):
                chip.write_u32(UART_CLKDIV, 1)
            if isinstance(line, Hello | Reply):
                awaited = max(0, awaited - 1)
        quiet = 0.0 if sent else quiet + SLICE
        if quiet > REPLY_LIMIT:
            awaited = 0
        while sent:
            select.select([], [master], [])
            sent = sent[os.write(master, sent) :]


@reporting()
def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m host.simulator", description="A simulated ESP32-C3 behind a pseudo-terminal."
    )
    parser.add_argument("elf", type=Path, metavar="firmware.elf")
    simulate(parser.parse_args().elf)
    return 0


if __name__ == "__main__":
    sys.exit(main())
