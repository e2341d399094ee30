"""Updates: whatever happens to the power, the line or the file, a working agent runs."""

import importlib.util
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import pytest
from conftest import ROOT

from host import boards
from host.client import Client
from host.errors import AgentError, NoAnswerError
from host.update import send_update
from train.bundle_file import bundle_crc, read_bundle, unsigned
from train.errors import UserError

FULL = os.environ.get("UTTERBIT_FULL") == "1"
CUTS = 10_000 if FULL else 200
AGENT = ROOT / "firmware" / "agent"
MONOCYPHER = ROOT / "firmware" / "monocypher" / "monocypher.c"
BLOCK, CHUNK = 4096, 256
ENCODER, FLATBUFFER = 4, 7
SLOT_BYTES = 512 * 1024
ALWAYS = 2**63

Agents = tuple[bytes, bytes, bytes]
Connect = Callable[..., Client]

INTERFACE = """
void flash_new(void);
void flash_flip(uint32_t slot, uint32_t offset, uint8_t bits);
void flash_break(int how);
uint32_t flash_dirty(void);
uint64_t flash_steps(void);
uint8_t *flash_content(uint32_t slot);
void firmware(const uint8_t *bundle, size_t size);
uint32_t power_up(uint64_t budget);
void give_memory(uint32_t bytes);
uint32_t held_in_memory(void);
uint32_t memory_used(void);
int selftest(void);
uint32_t running(void);
uint32_t held(void);
uint32_t announced(void);
int begin(uint32_t bytes, uint32_t crc32);
int data(uint32_t offset, const uint8_t *bytes, uint32_t length);
int activate(void);
const char *word(int status);
const char *text(int status);
int transfer(const uint8_t *file, uint32_t bytes, uint32_t crc32);
"""


def sealed(bundle: bytes) -> bytes:
    """The bundle with its length and CRC-32 made right."""
    body = struct.pack("<I", len(bundle)) + bundle[12:]
    return bundle[:4] + struct.pack("<I", zlib.crc32(body)) + body


def places(bundle: bytes) -> dict[int, tuple[int, int]]:
    """Offset and length of every section, by its kind."""
    table = [struct.unpack_from("<III", bundle, 16 + 12 * i) for i in range(7)]
    return {kind: (offset, length) for kind, offset, length in table}


def identity(bundle: bytes) -> int:
    return int(bundle_crc(bundle), 16)


@pytest.fixture(scope="module")
def agents(bundle: Path) -> Agents:
    """Three agents that differ in their CRC-32 only."""
    content = bundle.read_bytes()
    return content, sealed(content + bytes(16)), sealed(content + bytes(32))


def compile_device(folder: Path, name: str, *flags: str) -> Any:
    ffi = cffi.FFI()
    ffi.cdef(INTERFACE)
    ffi.set_source(
        name,
        INTERFACE,
        sources=[str(path) for path in (ROOT / "tests" / "update_flash.c", *sorted(AGENT.glob("*.c")), MONOCYPHER)],
        include_dirs=[str(AGENT), str(MONOCYPHER.parent)],
        extra_compile_args=["-std=c11", "-O2", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", *flags],
    )
    spec = importlib.util.spec_from_file_location(name, ffi.compile(str(folder)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compile_device(tmp_path_factory.mktemp("update"), "utterbit_update_flash")


class Device:
    """A board with fresh flash and a built-in agent."""

    def __init__(self, compiled: Any, built_in: bytes) -> None:
        self.ffi, self.c = compiled.ffi, compiled.lib
        self.c.flash_new()
        self.c.firmware(built_in, len(built_in))
        assert self.power_up() == identity(built_in)

    def power_up(self, steps: int = ALWAYS) -> int:
        return int(self.c.power_up(steps))

    def word(self, status: int) -> str:
        return bytes(self.ffi.string(self.c.word(status))).decode()

    def transfer(self, bundle: bytes) -> str:
        return self.word(self.c.transfer(bundle, len(bundle), zlib.crc32(bundle)))


@pytest.fixture
def device(compiled: Any, agents: Agents) -> Device:
    return Device(compiled, agents[0])


def test_an_update_runs_at_once_and_after_a_reset(device: Device, agents: Agents) -> None:
    for bundle in (agents[1], agents[2], agents[0], agents[1]):
        assert device.transfer(bundle) == "ok"
        assert device.c.running() == identity(bundle)
        assert device.power_up() == identity(bundle)
    assert device.c.flash_dirty() == 0, "flash is erased before it is programmed"


def test_a_newer_firmware_runs_its_own_agent(device: Device, agents: Agents) -> None:
    assert device.transfer(agents[1]) == "ok"
    device.c.firmware(agents[2], len(agents[2]))
    assert device.power_up() == identity(agents[2])
    device.c.firmware(agents[0], len(agents[0]))
    assert device.power_up() == identity(agents[1]), "the firmware that it was activated beside"


def test_without_a_valid_agent_in_the_firmware(compiled: Any, agents: Agents) -> None:
    device = Device(compiled, agents[0])
    device.c.firmware(b"none", 4)
    assert device.power_up() == 0
    assert device.transfer(agents[1]) == "ok"
    assert device.power_up() == identity(agents[1])


def test_a_slot_that_rots_gives_way_to_the_other(device: Device, agents: Agents) -> None:
    assert device.transfer(agents[1]) == "ok"  # into slot 0
    assert device.transfer(agents[2]) == "ok"  # into slot 1
    device.c.flash_flip(1, BLOCK + 5000, 1)
    assert device.power_up() == identity(agents[1])
    device.c.flash_flip(0, BLOCK + 5000, 1)
    assert device.power_up() == identity(agents[0])
    assert device.transfer(agents[2]) == "ok"
    assert device.power_up() == identity(agents[2])


def cut_and_check(device: Device, agents: Agents, budget: int) -> int:
    """Power fails after so many steps of the update from agent 1 to 2: what held before resuming."""
    device.c.flash_new()
    device.power_up()
    assert device.transfer(agents[1]) == "ok"
    assert device.power_up(budget) == identity(agents[1])
    device.transfer(agents[2])
    written = int(device.c.flash_steps())
    assert device.power_up() in (identity(agents[1]), identity(agents[2]))
    kept = int(device.c.held())
    if device.c.running() == identity(agents[1]):
        assert device.transfer(agents[2]) == "ok"
    assert device.power_up() == identity(agents[2])
    # What was programmed completely need not be sent again, but for the last block.
    if kept and device.c.announced() == 0:
        assert written - kept < 3 * BLOCK
    return kept


def all_steps(device: Device, agents: Agents) -> int:
    """How many steps the update from agent 1 to 2 takes."""
    assert device.transfer(agents[1]) == "ok"
    device.power_up()
    assert device.transfer(agents[2]) == "ok"
    return int(device.c.flash_steps())


def test_power_may_fail_at_any_step(device: Device, agents: Agents) -> None:
    """10,000 random cuts with UTTERBIT_FULL=1."""
    total = all_steps(device, agents)
    draw = random.Random(5)
    first = [*range(40), *range(BLOCK - 8, BLOCK + 40)]
    last = range(total - 40, total + 1)
    kept = [cut_and_check(device, agents, budget) for budget in (*first, *last)]
    kept += [cut_and_check(device, agents, draw.randrange(total)) for _ in range(CUTS)]
    assert max(kept) > len(agents[2]) - 2 * BLOCK
    print(f"\n{len(kept):,} cuts of {total:,} steps: an agent ran after every one")


def test_power_may_fail_again_and_again(device: Device, agents: Agents) -> None:
    total = all_steps(device, agents)
    draw = random.Random(6)
    for _ in range(CUTS // 20):
        device.c.flash_new()
        device.power_up()
        assert device.transfer(agents[1]) == "ok"
        cuts = 0
        while device.power_up(draw.randrange(2 * BLOCK, total // 3)) == identity(agents[1]):
            device.transfer(agents[2])
            cuts += 1
            assert cuts < 100
        assert device.c.running() == identity(agents[2])


def damaged(bundle: bytes) -> bytes:
    """A bundle whose header and CRC are right, but whose encoder computes something else."""
    offset, length = places(bundle)[FLATBUFFER]
    middle = offset + length // 2
    return sealed(
        bundle[:middle] + bytes(byte ^ 0x55 for byte in bundle[middle : middle + 512]) + bundle[middle + 512 :]
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda b: b[:-5], "bundle"),
        (lambda b: b[:4] + b"\0\0\0\0" + b[8:], "bundle"),
        (lambda b: sealed(b[:12] + b"\xff" + b[13:]), "bundle"),
        (lambda b: b"PK" + b[2:], "bundle"),
        (lambda b: bytes(len(b)), "bundle"),
        (lambda b: b + bytes(500 * 1024), "update"),
        (lambda b: b"", "update"),
        (damaged, "selftest"),
    ],
)
def test_the_old_agent_stays(device: Device, agents: Agents, change: Callable[[bytes], bytes], word: str) -> None:
    assert device.transfer(agents[1]) == "ok"
    assert device.transfer(change(agents[2])) == word
    assert device.c.running() == identity(agents[1])
    assert device.c.held() == 0, "what was refused is thrown away"
    assert device.power_up() == identity(agents[1])
    assert device.transfer(agents[2]) == "ok"


def test_a_wrong_total_crc_is_refused(device: Device, agents: Agents) -> None:
    new = agents[1]
    assert device.word(device.c.transfer(new, len(new), zlib.crc32(new) ^ 1)) == "bundle"
    assert device.power_up() == identity(agents[0])


def test_chunks_come_in_order(device: Device, agents: Agents) -> None:
    new = agents[1]
    status = device.c.data(0, new, CHUNK)
    assert device.word(status) == "update", "not begun"
    assert device.word(device.c.activate()) == "update"
    device.c.begin(len(new), zlib.crc32(new))
    for offset, length in ((CHUNK, CHUNK), (0, CHUNK - 1), (1, CHUNK), (2**32 - CHUNK, CHUNK), (0, 0)):
        assert device.word(device.c.data(offset, new, length)) == "update"
    assert device.c.data(0, new, CHUNK) == 0
    assert device.c.data(0, new, CHUNK) == 0, "a chunk that is there is passed over"
    assert device.c.held() == CHUNK
    assert device.word(device.c.activate()) == "update", "incomplete"
    device.power_up()
    assert device.c.held() == 0, "an incomplete block is sent again"
    assert device.transfer(new) == "ok"


def test_another_file_begins_anew(device: Device, agents: Agents) -> None:
    one, two = agents[1], agents[2]
    device.c.begin(len(one), zlib.crc32(one))
    for offset in range(0, 3 * BLOCK, CHUNK):
        device.c.data(offset, one[offset:], CHUNK)
    device.power_up()
    assert device.c.held() == 3 * BLOCK
    device.c.begin(len(two), zlib.crc32(two))
    assert device.c.held() == 0
    assert device.transfer(two) == "ok"


def test_flash_that_fails_is_told(device: Device, agents: Agents) -> None:
    device.c.flash_break(1)
    assert device.transfer(agents[1]) == "storage"
    device.c.flash_break(0)
    assert device.transfer(agents[1]) == "ok"


# ---- weights in RAM ----


def copied_bytes(bundle: bytes) -> int:
    """What the two sections take that are copied, each aligned to 16."""
    return sum(-(-places(bundle)[kind][1] // 16) * 16 for kind in (ENCODER, FLATBUFFER))


@pytest.mark.parametrize("spare", [0, 1000, -1])
def test_weights_are_copied_where_they_fit(device: Device, agents: Agents, spare: int) -> None:
    needed = copied_bytes(agents[0])
    device.c.give_memory(needed + spare)
    assert device.power_up() == identity(agents[0])
    for bundle in (agents[0], agents[1], agents[2]):
        assert device.transfer(bundle) == "ok"
        assert device.c.held_in_memory() == (needed if spare >= 0 else 0)
        assert device.c.memory_used() <= device.c.held_in_memory()
        assert device.c.selftest()


@pytest.mark.parametrize("copied", [True, False])
def test_weights_in_flash_are_read_only_without_a_copy(device: Device, agents: Agents, copied: bool) -> None:
    device.c.give_memory(copied_bytes(agents[1]) if copied else 0)
    assert device.power_up() == identity(agents[0])
    assert device.transfer(agents[1]) == "ok"
    assert device.transfer(damaged(agents[2])) == "selftest", "a candidate is tried where it stands"
    assert device.c.running() == identity(agents[1])
    assert device.c.selftest()
    offset, length = places(agents[1])[FLATBUFFER]
    for at in range(offset, offset + length):
        device.c.flash_flip(0, BLOCK + at, 0x55)
    assert bool(device.c.selftest()) == copied


# ---- signatures ----

# RFC 8032, 7.1, test 2: what ends in the public key's 32 bytes is the key that others must agree with.
RFC_SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
RFC_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"


def test_only_what_is_signed_with_the_key_is_taken(agents: Agents, tmp_path: Path) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from convert.sign import public_digits, signed

    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC_SECRET))
    assert public_digits(key) == RFC_PUBLIC
    compiled = compile_device(tmp_path, "utterbit_update_signed", f'-DUB_PUBLIC_KEY="{RFC_PUBLIC}"')
    device = Device(compiled, agents[0])
    good = signed(agents[1], key)
    assert signed(good, key) == good
    forged = [
        b"x",
        bytes(3000),  # no bundle: nothing but the signature is looked at before it is found good
        agents[1],
        signed(agents[1], ed25519.Ed25519PrivateKey.generate()),
        agents[2] + good[len(agents[1]) :],
        good + b"\0",
        good[:-1],
        *(good[:-at] + bytes([good[-at] ^ 1]) + good[len(good) - at + 1 :] for at in (1, 31, 33, 64, 65, 72)),
    ]
    for file in forged:
        assert device.transfer(file) == "signature"
        assert device.power_up() == identity(agents[0])
    assert device.transfer(good) == "ok"
    assert device.power_up() == identity(agents[1])
    for size in (0, 1, 111, 112, 113, 127, 128, 129):  # where SHA-512's padding begins another block
        other = sealed(agents[0] + bytes(size))
        assert device.transfer(signed(other, key)) == "ok"
        assert device.c.running() == identity(other)


def test_what_ran_without_the_key_does_not_run_with_it(device: Device, agents: Agents, tmp_path: Path) -> None:
    assert device.transfer(agents[1]) == "ok"
    keyed = Device(compile_device(tmp_path, "utterbit_update_keyed", f'-DUB_PUBLIC_KEY="{RFC_PUBLIC}"'), agents[0])
    for slot in (0, 1):
        flash = device.ffi.buffer(device.c.flash_content(slot), SLOT_BYTES)
        keyed.ffi.memmove(keyed.c.flash_content(slot), flash, SLOT_BYTES)
    assert keyed.power_up() == identity(agents[0])
    assert device.power_up() == identity(agents[1])


def test_firmware_without_a_key_takes_signed_ones_too(device: Device, agents: Agents) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from convert.sign import signed

    assert device.transfer(signed(agents[1], ed25519.Ed25519PrivateKey.generate())) == "ok"


def test_convert_sign(agents: Agents, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography")
    from convert.__main__ import main
    from convert.bundle import read_sections

    bundle, key = tmp_path / "agent.bundle", tmp_path / "key.pem"
    bundle.write_bytes(agents[0])
    assert main(["sign", str(bundle), "--key", str(key)]) == 2
    assert "--make-key" in capsys.readouterr().err
    assert main(["sign", "--make-key", "--key", str(key), str(tmp_path / "nowhere")]) == 2
    assert not key.exists(), "no key is made for what is not there"
    assert main(["sign", "--make-key", "--key", str(key)]) == 0
    assert "UB_PUBLIC_KEY" in capsys.readouterr().out
    assert key.stat().st_mode & 0o077 == 0
    assert main(["sign", "--make-key", "--key", str(key)]) == 2, "a key is never replaced"
    assert main(["sign", str(bundle), "--key", str(key)]) == 0
    assert len(bundle.read_bytes()) == len(agents[0]) + 72
    assert read_sections(bundle.read_bytes()) == read_sections(agents[0])
    assert unsigned(read_bundle(bundle)) == agents[0]
    damaged = tmp_path / "damaged.bundle"
    damaged.write_bytes(agents[0][:-1] + bytes([agents[0][-1] ^ 1]))
    assert main(["sign", str(damaged), "--key", str(key)]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert main(["sign", str(key), "--key", str(key)]) == 2
    assert main(["sign", str(bundle), "--key", str(bundle)]) == 2


# ---- the whole way: host, line, native firmware, its flash in a file ----


@pytest.fixture
def native(native_program: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Opens a client on native, which carries the small agent and keeps its flash in a file."""
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", native_program)

    def connect(steps: int | None = None) -> Client:
        program = native_program
        if steps is not None:
            program = tmp_path / "weak"
            program.write_text(f'#!/bin/sh\nexec "{native_program}" "$@" --power-loss {steps}\n', encoding="utf-8")
            program.chmod(0o755)
        monkeypatch.setattr(boards, "NATIVE_PROGRAM", program)
        return Client("native", bundle=bundle, flash=tmp_path / "flash")

    return connect


def test_the_host_updates_native(native: Connect, agents: Agents) -> None:
    seen: list[int] = []
    with native() as agent:
        done = send_update(agent, agents[1], seen.append)
        assert (done.crc, done.sent, done.resumed) == (bundle_crc(agents[1]), len(agents[1]), 0)
        assert seen[0] == 0
        assert seen[-1] == len(agents[1])
        assert agent.info().crc == bundle_crc(agents[1])
        assert agent.selftest().passed
        agent.parse("turn on the kitchen light")
        assert send_update(agent, agents[1]).sent == 0, "it runs already"
    with native() as agent:
        assert agent.info().crc == bundle_crc(agents[1])


def test_an_interrupted_update_goes_on(native: Connect, agents: Agents) -> None:
    new = agents[1]
    for steps in (0, 1, 9, 1000, 60_000, 61_000, 10_000):
        with native(steps) as agent, pytest.raises(NoAnswerError, match="power lost"):
            send_update(agent, new)
        with native() as agent:
            assert agent.info().crc == bundle_crc(agents[0])
    with native() as agent:
        done = send_update(agent, new)
        assert done.crc == bundle_crc(new)
        assert done.resumed > 120_000 - 3 * BLOCK
        assert done.sent + done.resumed == len(new)


def test_a_reset_in_the_middle_of_an_update(native: Connect, agents: Agents) -> None:
    with native() as agent:
        resets = iter((5000, 33_333, 70_000))
        due = next(resets)

        def press(held: int) -> None:
            nonlocal due
            if held >= due:
                due = next(resets, 2**32)
                agent.reset()

        done = send_update(agent, agents[1], press)
        assert done.crc == bundle_crc(agents[1])
        assert len(agent.resets) == 3


def test_a_reset_just_before_an_activation_is_answered(
    native: Connect, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, read, cuts = bundle_crc(agents[1]), boards.Board.read, iter([True])

    def cut(board: boards.Board) -> bytes:
        received = read(board)
        if new.encode() in received and next(cuts, False):
            board.reset()
            return b""
        return received

    monkeypatch.setattr(boards.Board, "read", cut)
    with native() as agent:
        assert send_update(agent, agents[1]).crc == new
        assert len(agent.resets) == 1


def test_a_refused_file_leaves_the_old_agent(native: Connect, agents: Agents) -> None:
    with native() as agent:
        with pytest.raises(AgentError, match="golden"):
            send_update(agent, damaged(agents[1]))
        assert agent.info().crc == bundle_crc(agents[0])


def test_a_bundle_of_another_version_is_not_even_sent(native: Connect, agents: Agents) -> None:
    other = sealed(agents[1][:12] + b"\xff\xff" + agents[1][14:])
    sent: list[int] = []
    with native() as agent:
        with pytest.raises(
            UserError, match=f"version 65535, the firmware on native takes version {agent.info().bundle_version}:"
        ):
            send_update(agent, other, sent.append)
        assert agent.info().crc == bundle_crc(agents[0])
    assert not sent


def test_native_names_a_flash_that_cannot_be_used(native_program: Path, bundle: Path, tmp_path: Path) -> None:
    for arguments, reason in (
        (["--flash"], b"--flash"),
        (["--flash", tmp_path], str(tmp_path).encode()),
        (["--power-loss", "5"], b"--power-loss"),
        (["--flash", tmp_path / "f", "--power-loss", "x"], b"--power-loss"),
    ):
        done = subprocess.run([native_program, bundle, *arguments], input=b"", capture_output=True, check=False)
        assert done.returncode == 2
        assert reason in done.stderr
    missing = tmp_path / "no" / "flash"
    line = b"/update begin 300 00000000\n"
    done = subprocess.run([native_program, "--flash", missing], input=line, capture_output=True, check=False)
    assert done.returncode == 2
    assert str(missing).encode() in done.stderr


def test_native_ends_where_nobody_listens(native_program: Path) -> None:
    with subprocess.Popen([native_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"/info\n")
        process.stdin.close()
        assert process.wait(10) == 1


def test_native_without_a_flash_refuses(native_program: Path) -> None:
    done = subprocess.run([native_program], input=b"/update\n", capture_output=True, check=False)
    assert json.loads(done.stdout.splitlines()[-1][1:])["error"] == "storage"


def test_update_of_native_names_the_file_that_it_needs(bundle: Path) -> None:
    command = [sys.executable, "-m", "host", "update", str(bundle), "--board", "native"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--flash FILE" in done.stderr
