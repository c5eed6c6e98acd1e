"""Identities: what a mesh is founded with, what lies on disk, and what is refused when it is loaded."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import ssl
import stat
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

import meshnode.certificates
from meshnode.certificates import (
    BadCertificate,
    check_certificate,
    make_ca_certificate,
    make_node_certificate,
    node_id_from_raw,
    node_id_to_raw,
    peer_node_id,
)
from meshnode.errors import ExitCode, MeshError
from meshnode.identity import (
    Identity,
    MeshSecrets,
    check_name,
    client_context,
    found_mesh,
    has_identity,
    load_identity,
    node_id_of,
    pending_key,
    public_bytes,
    save_identity,
    server_context,
    sign_node_certificate,
)

FILES = ["node.key", "node.crt", "ca.crt", "ca.key", "mesh.json"]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(MeshError) as caught:
        call()
    assert caught.value.message
    assert caught.value.next_step
    return caught.value.code


def admitted(founder: Identity, secrets: MeshSecrets, name: str) -> tuple[Identity, MeshSecrets]:
    key = Ed25519PrivateKey.generate()
    pem = sign_node_certificate(secrets, founder.ca_certificate_pem, public_bytes(key), name)
    identity = Identity(node_id_of(public_bytes(key)), key, pem, founder.ca_certificate_pem)
    return identity, MeshSecrets(secrets.mesh, secrets.keyring, None, "127.0.0.1:7000")


def test_a_node_id_is_the_fingerprint_of_the_key() -> None:
    identity, _ = found_mesh("m", "alice")
    raw_key = identity.private_key.public_key().public_bytes_raw()
    expected = base64.b32encode(hashlib.sha256(raw_key).digest()[:16]).decode().rstrip("=").lower()
    assert identity.node_id == node_id_of(raw_key) == expected
    assert len(expected) == 26
    assert node_id_from_raw(node_id_to_raw(expected)) == expected


@pytest.mark.parametrize("text", ["", "a" * 25, "a" * 27, "A" * 26, "1" * 26, "é" * 26, "ß" * 13, "a" * 25 + "b"])
def test_what_is_no_node_id(text: str) -> None:
    with pytest.raises(ValueError, match="node id"):
        node_id_to_raw(text)


def test_founding_makes_a_ca_that_signs_nodes_and_nothing_deeper() -> None:
    identity, secrets = found_mesh("prod", "alice")
    ca = x509.load_pem_x509_certificate(identity.ca_certificate_pem)
    node = x509.load_pem_x509_certificate(identity.certificate_pem)
    assert ca.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "prod"
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert not node.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"mesh://prod/{identity.node_id}"]
    days = (node.not_valid_after_utc - datetime.now(UTC)).days
    assert 363 <= days <= 366
    assert (ca.not_valid_after_utc - datetime.now(UTC)).days > 3600
    assert identity.name == "alice"
    assert check_certificate(node, ca, "prod") == identity.node_id
    assert [len(key) for key in secrets.keyring] == [32]
    assert found_mesh("prod", "alice")[1].keyring != secrets.keyring


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "x" * 65, "a\n", "-\x00"])
def test_names_that_cannot_be(name: str) -> None:
    assert code_of(lambda: found_mesh(name, "ok")) == "bad_name"
    assert code_of(lambda: found_mesh("ok", name)) == "bad_name"


def test_names_that_can_be() -> None:
    for name in ["a", "x" * 64, "node-1.example_2"]:
        assert check_name("node", name) == name


def test_secrets_do_not_show() -> None:
    identity, secrets = found_mesh("m", "alice")
    assert secrets.ca_private_key_pem is not None
    shown = repr((identity, secrets))
    assert "PRIVATE" not in shown
    assert repr(secrets.keyring[0]) not in shown


def test_save_and_load(tmp_path: Path) -> None:
    founder, secrets = found_mesh("m", "alice")
    member, member_secrets = admitted(founder, secrets, "bob")
    for directory, identity, kept in [(tmp_path / "a", founder, secrets), (tmp_path / "b", member, member_secrets)]:
        assert not has_identity(directory)
        save_identity(directory, identity, kept)
        assert has_identity(directory)
        loaded, loaded_secrets = load_identity(directory)
        assert loaded_secrets == kept
        assert (loaded.node_id, loaded.name) == (identity.node_id, identity.name)
        assert public_bytes(loaded.private_key) == public_bytes(identity.private_key)
        assert loaded.ca_fingerprint == identity.ca_fingerprint
    assert (tmp_path / "a" / "identity" / "ca.key").exists()
    assert not (tmp_path / "b" / "identity" / "ca.key").exists()


def test_nobody_else_may_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_identity(tmp_path / "node", *found_mesh("m", "alice"))
    finally:
        os.umask(before)
    directory = tmp_path / "node" / "identity"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(os.listdir(directory)) == sorted(FILES)
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in os.listdir(directory)} == {0o600}


def test_saving_again_replaces_and_another_node_is_refused(tmp_path: Path) -> None:
    identity, secrets = found_mesh("m", "alice")
    save_identity(tmp_path, identity, secrets)
    rotated = MeshSecrets(secrets.mesh, (b"n" * 32, *secrets.keyring), secrets.ca_private_key_pem)
    save_identity(tmp_path, identity, rotated)
    assert load_identity(tmp_path)[1].keyring == rotated.keyring
    assert code_of(lambda: save_identity(tmp_path, *found_mesh("m", "mallory"))) == "identity_exists"
    assert load_identity(tmp_path)[0].node_id == identity.node_id


def test_a_save_that_was_cut_short_leaves_no_half_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity, secrets = found_mesh("m", "alice")
    replaced = 0
    real_replace = os.replace

    def fails_at_the_third(source: str, target: Path) -> None:
        nonlocal replaced
        replaced += 1
        if replaced == 3:
            raise OSError(28, "No space left on device")
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", fails_at_the_third)
    assert code_of(lambda: save_identity(tmp_path, identity, secrets)) == "identity_unwritable"
    assert not has_identity(tmp_path)
    assert os.listdir(tmp_path) == []
    # A crash would leave the directory that was being filled: it is in nobody's way.
    (tmp_path / "identity.new").mkdir()
    (tmp_path / "identity.new" / "node.key").write_bytes(b"half")
    save_identity(tmp_path, identity, secrets)
    assert load_identity(tmp_path)[0].node_id == identity.node_id
    assert os.listdir(tmp_path) == ["identity"]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert code_of(lambda: save_identity(tmp_path / "file" / "node", *found_mesh("m", "a"))) == "identity_unwritable"
    assert code_of(lambda: pending_key(tmp_path / "file")) == "identity_unwritable"


def test_no_identity_yet(tmp_path: Path) -> None:
    with pytest.raises(MeshError) as caught:
        load_identity(tmp_path)
    assert caught.value.code == "no_identity"
    assert caught.value.exit_code == ExitCode.USAGE
    assert "meshnode init" in caught.value.next_step


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "cut", "huge"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    save_identity(tmp_path, *found_mesh("m", "alice"))
    path = tmp_path / "identity" / name
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(bytes(range(256)))
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case _:
            path.write_bytes(b"x" * 200_000)
    with pytest.raises(MeshError) as caught:
        load_identity(tmp_path)
    assert caught.value.code == "identity_broken"
    assert name in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize("name", ["node.key", "node.crt", "ca.crt", "ca.key"])
def test_a_file_of_another_mesh_is_noticed(tmp_path: Path, name: str) -> None:
    for directory in ("ours", "theirs"):
        save_identity(tmp_path / directory, *found_mesh("m", "alice"))
    shutil.copy(tmp_path / "theirs" / "identity" / name, tmp_path / "ours" / "identity" / name)
    assert code_of(lambda: load_identity(tmp_path / "ours")) in {"identity_broken", "certificate_invalid"}


def test_another_label_is_noticed(tmp_path: Path) -> None:
    save_identity(tmp_path, *found_mesh("ours", "alice"))
    path = tmp_path / "identity" / "mesh.json"
    path.write_text(path.read_text().replace("ours", "theirs"))
    assert code_of(lambda: load_identity(tmp_path)) == "certificate_invalid"


def test_a_certificate_admits_one_key_to_one_mesh() -> None:
    key = Ed25519PrivateKey.generate()
    ca = make_ca_certificate("ours", key)
    for mesh, good in (("ours", True), ("theirs", False)):
        certificate = make_node_certificate(mesh, key, ca, bytes(32), "alice")
        if good:
            assert check_certificate(certificate, ca, "ours") == node_id_of(bytes(32))
        else:
            with pytest.raises(BadCertificate, match="another mesh"):
                check_certificate(certificate, ca, "ours")
    with pytest.raises(BadCertificate):
        check_certificate(ca, ca, "ours")  # the CA is no node


@pytest.mark.parametrize("text", ["[]", '{"mesh": "m", "keyring": []}', '{"mesh": "m", "keyring": ["AAAA"]}'])
def test_a_mesh_file_that_says_nonsense(tmp_path: Path, text: str) -> None:
    save_identity(tmp_path, *found_mesh("m", "alice"))
    (tmp_path / "identity" / "mesh.json").write_text(text)
    assert code_of(lambda: load_identity(tmp_path)) == "identity_broken"


@pytest.mark.parametrize("days", [-400, 400])
def test_a_certificate_out_of_its_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    class ThatDay(datetime):
        @classmethod
        def now(cls, tz: object = None) -> ThatDay:
            return cls.fromtimestamp((datetime.now(UTC) + timedelta(days=days)).timestamp(), UTC)

    monkeypatch.setattr(meshnode.certificates, "datetime", ThatDay)
    identity, secrets = found_mesh("m", "alice")
    monkeypatch.undo()
    save_identity(tmp_path, identity, secrets)
    assert code_of(lambda: load_identity(tmp_path)) == "certificate_invalid"


def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    save_identity(tmp_path, *found_mesh("m", "alice"))
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "identity" / "node.key").write_bytes(pem)
    assert code_of(lambda: load_identity(tmp_path)) == "identity_broken"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    signed = certificate.sign(Ed25519PrivateKey.generate(), None)
    with pytest.raises(BadCertificate):
        peer_node_id(signed.public_bytes(serialization.Encoding.DER))


def test_only_the_founder_signs() -> None:
    founder, secrets = found_mesh("m", "alice")
    _, member_secrets = admitted(founder, secrets, "bob")
    key = public_bytes(Ed25519PrivateKey.generate())
    assert code_of(lambda: sign_node_certificate(member_secrets, founder.ca_certificate_pem, key, "x")) == "not_founder"


def test_the_pending_key_is_the_same_until_the_join_is_saved(tmp_path: Path) -> None:
    key = pending_key(tmp_path / "node")
    assert public_bytes(pending_key(tmp_path / "node")) == public_bytes(key)
    assert stat.S_IMODE((tmp_path / "node" / "join.key").stat().st_mode) == 0o600
    founder, secrets = found_mesh("m", "alice")
    pem = sign_node_certificate(secrets, founder.ca_certificate_pem, public_bytes(key), "bob")
    identity = Identity(node_id_of(public_bytes(key)), key, pem, founder.ca_certificate_pem)
    save_identity(tmp_path / "node", identity, MeshSecrets("m", secrets.keyring))
    assert os.listdir(tmp_path / "node") == ["identity"]
    (tmp_path / "join.key").write_bytes(b"half a k")
    assert public_bytes(pending_key(tmp_path)) != public_bytes(key)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A TLS handshake in memory, with a word each way, so that both ends have judged the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for step in ("do_handshake", "do_handshake", "do_handshake"):
        for end in ends:
            try:
                getattr(end, step)()
            except ssl.SSLWantReadError:
                continue
    ends[0].write(b"x")
    assert ends[1].read(1) == b"x"
    ends[1].write(b"y")
    assert ends[0].read(1) == b"y"
    return ends


def test_tls_is_mutual_and_within_the_mesh() -> None:
    founder, secrets = found_mesh("m", "alice")
    member, _ = admitted(founder, secrets, "bob")
    client, server = shake_hands(server_context(founder), client_context(member))
    assert client.version() == server.version() == "TLSv1.3"
    seen_by_client, seen_by_server = client.getpeercert(binary_form=True), server.getpeercert(binary_form=True)
    assert seen_by_client is not None
    assert seen_by_server is not None
    assert peer_node_id(seen_by_client) == founder.node_id
    assert peer_node_id(seen_by_server) == member.node_id


def test_a_full_temporary_directory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    identity, _ = found_mesh("m", "alice")
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    assert code_of(lambda: server_context(identity)) == "no_temporary_file"
    assert code_of(lambda: client_context(identity)) == "no_temporary_file"


def test_tls_refuses_other_meshes_and_strangers() -> None:
    ours, theirs = found_mesh("m", "alice")[0], found_mesh("m", "alice")[0]
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(ours), client_context(theirs))
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(ours), nobody)
