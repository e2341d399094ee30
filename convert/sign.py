"""``python -m convert sign``: signed bundles, for firmware that is built with a public key (Ed25519, RFC 8032)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from train.bundle_file import read_bundle, unsigned
from train.errors import UserError
from train.examples import write_atomic

MAGIC = b"UTTSIGN1"
"""What follows the bundle in the file, before the 64 bytes of its signature (firmware/agent/signature.h)."""


def signed(bundle: bytes, key: Ed25519PrivateKey) -> bytes:
    """The bundle with its signature; one that it has is replaced. Raises UserError if it is none, or damaged."""
    bundle = unsigned(bundle)
    return bundle + MAGIC + key.sign(bundle)


def public_digits(key: Ed25519PrivateKey) -> str:
    """The public key in 64 hexadecimal digits, as the firmware's build takes it."""
    return key.public_key().public_bytes_raw().hex()


def make_key(path: Path) -> Ed25519PrivateKey:
    """Write a new secret key that only its owner can read. Raises UserError rather than to replace a file."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error.strerror}); name a file that does not exist yet") from None
    return key


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a secret key in PEM. Raises UserError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); --make-key makes a key") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(f"{path} is not a key; expected an Ed25519 key in PEM, as --make-key writes it") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path} is another kind of key; expected an Ed25519 key, as --make-key writes it")
    return key


def main(arguments: list[str]) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m convert sign", description="Signs a bundle, for firmware that is built with a public key."
    )
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="is replaced by the signed one")
    parser.add_argument("--key", type=Path, required=True, metavar="KEY", help="the secret key's file")
    parser.add_argument("--make-key", action="store_true", help="make a new one first")
    options = parser.parse_args(arguments)
    if options.bundle is None and not options.make_key:
        parser.error("a BUNDLE was expected, or --make-key")
    bundle = read_bundle(options.bundle) if options.bundle is not None else None  # before a key is made
    key = make_key(options.key) if options.make_key else read_key(options.key)
    if bundle is not None:
        write_atomic(options.bundle, signed(bundle, key))
    print(f"public key, for the firmware's build_flags: '-DUB_PUBLIC_KEY=\"{public_digits(key)}\"'")
    return 0
