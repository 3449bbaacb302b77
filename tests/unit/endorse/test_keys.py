# SPDX-License-Identifier: Apache-2.0
"""Keys in files, agents and tokens, and what is refused of them."""

from __future__ import annotations

import base64
import contextlib
import copy
import socket
import struct
import threading

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
import pytest

from hepix_vm.endorse import keys
from hepix_vm.endorse import pkcs11_uri
from hepix_vm.endorse import remote_key
from hepix_vm.endorse import ssh_agent
from hepix_vm.endorse import token_key
from hepix_vm import errors
from tests.assets import pki
from tests.unit.endorse import people


def refused(source):
    with pytest.raises(errors.Misconfigured) as caught, keys.signatory(source):
        pass
    return str(caught.value)


class TestFiles:
    def test_plain_key(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder())
        with keys.signatory(keys.Source(certificate, str(key))) as found:
            assert found.certificate == people.holder().certificate
            assert found.others == ()

    def test_chain_is_embedded_once(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder())
        chain = tmp_path / 'chain.pem'
        chain.write_bytes(people.authority().pem)
        certificate.write_bytes(people.holder().pem + people.authority().pem)
        source = keys.Source(certificate, str(key), chain)
        with keys.signatory(source) as found:
            assert found.others == (people.authority().certificate,)

    def test_passphrase_from_a_file(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder(), 'hush')
        secret = tmp_path / 'secret'
        secret.touch(0o600)
        secret.write_text('hush\n')
        source = keys.Source(certificate, str(key), passphrase_file=secret)
        with keys.signatory(source) as found:
            assert found.certificate == people.holder().certificate
        secret.chmod(0o604)
        assert 'chmod' in refused(source)

    def test_passphrase_from_a_person(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder(), 'hush')
        asked = []

        def ask(what):
            asked.append(what)
            return 'hush'

        source = keys.Source(certificate, str(key), ask=ask)
        with keys.signatory(source):
            assert asked == [f'passphrase of {key}']
        wrong = keys.Source(certificate, str(key), ask=lambda _: 'loud')
        said = refused(wrong)
        assert 'right passphrase' in said
        assert 'loud' not in said

    def test_nobody_to_ask(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder(), 'hush')
        said = refused(keys.Source(certificate, str(key)))
        assert 'give --passphrase-file' in said

    def test_key_that_everybody_may_read(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder())
        key.chmod(0o644)
        assert 'chmod' in refused(keys.Source(certificate, str(key)))

    def test_no_key(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder())
        key.write_bytes(b'nothing')
        assert 'private key' in refused(keys.Source(certificate, str(key)))

    def test_key_of_somebody_else(self, tmp_path):
        certificate, key = people.write(tmp_path, people.holder())
        certificate.write_bytes(people.other().pem)
        assert 'belong' in refused(keys.Source(certificate, str(key)))

    def test_key_is_not_shown(self):
        one = people.signatory(people.holder())
        assert 'PrivateKey' not in repr(one)


@contextlib.contextmanager
def agent(path, answers):
    """An SSH agent that says what it is told to, one answer a connection.

    A real agent is asked in the functional tests.
    """
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(60)

        def serve():
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    size = int.from_bytes(connection.recv(4), 'big')
                    request = b''
                    while len(request) < size:
                        request += connection.recv(size - len(request))
                    said = answer(request) if callable(answer) else answer
                    connection.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield str(path)
        thread.join(60)


def _string(data):
    return struct.pack('>I', len(data)) + data


def _identities(*blobs):
    body = b'\x0c' + struct.pack('>I', len(blobs))
    return _string(body + b''.join(_string(b) + _string(b'me') for b in blobs))


def _blob(one):
    line = one.key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return base64.b64decode(line.split()[1])


class TestAgent:
    def _signed(self, tmp_path, *answers):
        certificate, _ = people.write(tmp_path, people.holder())
        with agent(tmp_path / 'agent', answers) as address:
            source = keys.Source(certificate, keys.AGENT, agent=address)
            with keys.signatory(source) as found:
                return found.key.sign(b'data', ec.ECDSA(hashes.SHA256()))

    def _refused(self, tmp_path, *answers):
        with pytest.raises(errors.Misconfigured) as caught:
            self._signed(tmp_path, *answers)
        return str(caught.value)

    def test_no_agent(self, tmp_path):
        certificate, _ = people.write(tmp_path, people.holder())
        source = keys.Source(certificate, keys.AGENT)
        assert 'SSH_AUTH_SOCK' in refused(source)
        gone = keys.Source(certificate, keys.AGENT, agent=f'{tmp_path}/no')
        assert 'does not answer' in refused(gone)

    def test_agent_without_our_key(self, tmp_path):
        ed = serialization.Encoding.OpenSSH
        line = (
            pki.key('ed x')
            .public_key()
            .public_bytes(ed, serialization.PublicFormat.OpenSSH)
        )
        blobs = (
            _blob(people.other()),
            base64.b64decode(line.split()[1]),
            _string(b'sk-unknown@example.org'),
        )
        assert 'ssh-add' in self._refused(tmp_path, _identities(*blobs))

    def test_agent_that_refuses(self, tmp_path):
        held = _identities(_blob(people.holder()))
        said = self._refused(tmp_path, held, _string(b'\x05'))
        assert 'refuses to sign' in said

    @pytest.mark.parametrize(
        'answer',
        [
            struct.pack('>I', 0),
            struct.pack('>I', 2**31),
            struct.pack('>I', 9) + b'\x0c',
            _string(b'\x0c' + struct.pack('>I', 7)),
        ],
        ids=['empty', 'huge', 'cut', 'short'],
    )
    def test_agent_that_talks_garbage(self, tmp_path, answer):
        assert 'something else' in self._refused(tmp_path, answer)

    def test_signature_of_another_kind(self, tmp_path):
        signature = _string(_string(b'ssh-rsa') + _string(b''))
        held = _identities(_blob(people.holder()))
        said = self._refused(tmp_path, held, _string(b'\x0e' + signature))
        assert 'something else' in said

    def test_signature(self, tmp_path):
        key = people.holder().key

        def sign(request):
            fields = ssh_agent._Fields(request[1:])
            assert fields.string() == _blob(people.holder())
            der = key.sign(fields.string(), ec.ECDSA(hashes.SHA256()))
            numbers = utils.decode_dss_signature(der)
            blob = b''.join(
                _string(n.to_bytes(n.bit_length() // 8 + 1, 'big'))
                for n in numbers
            )
            name = _string(b'ecdsa-sha2-nistp256')
            return _string(b'\x0e' + _string(name + _string(blob)))

        held = _identities(_blob(people.holder()))
        signature = self._signed(tmp_path, held, sign)
        key.public_key().verify(signature, b'data', ec.ECDSA(hashes.SHA256()))


class TestUri:
    def test_all_of_it(self):
        found = pkcs11_uri.parse(
            'pkcs11:token=My%20token;serial=1;object=key;id=%01%FF;'
            'type=private?module-path=/lib/x.so&pin-source=file:/etc/pin'
        )
        assert found.token == 'My token'
        assert found.serial == '1'
        assert found.label == 'key'
        assert found.identifier == b'\x01\xff'
        assert str(found.module) == '/lib/x.so'
        assert str(found.pin_file) == '/etc/pin'

    @pytest.mark.parametrize(
        ('uri', 'why'),
        [
            ('pkcs11:?module-path=/x&pin-value=1234', 'command line'),
            ('pkcs11:token=a', 'module-path'),
            ('pkcs11:token=a;token=b?module-path=/x', 'once'),
            ('pkcs11:colour=blue?module-path=/x', 'colour'),
            ('pkcs11:token?module-path=/x', 'token'),
            ('pkcs11:slot-id=1?module-path=/x', 'by token and serial'),
            ('pkcs11:type=cert?module-path=/x', 'type=private'),
            ('pkcs11:token=%FF?module-path=/x', 'not UTF-8'),
            ('pkcs11:?module-path=/x&pin-source=|cat', 'file:PATH'),
            ('pkcs11:?module-path=/x&pin-source=file:', 'file:PATH'),
        ],
    )
    def test_refused(self, uri, why):
        with pytest.raises(errors.Misconfigured) as caught:
            pkcs11_uri.parse(uri)
        assert why in str(caught.value)
        assert '1234' not in str(caught.value)


class TestToken:
    def test_library_that_is_none(self, tmp_path):
        certificate, _ = people.write(tmp_path, people.holder())
        library = tmp_path / 'library.so'
        library.write_bytes(b'nothing')
        source = keys.Source(certificate, f'pkcs11:?module-path={library}')
        assert 'PKCS #11 library' in refused(source)

    def test_package_that_is_not_there(self, tmp_path, monkeypatch):
        certificate, _ = people.write(tmp_path, people.holder())
        monkeypatch.setitem(token_key.__builtins__, '__import__', _no_pkcs11)
        source = keys.Source(certificate, 'pkcs11:?module-path=/x')
        assert 'hepix_vm[pkcs11]' in refused(source)


_import = __import__


def _no_pkcs11(name, *arguments, **more):
    if name.startswith('pkcs11'):
        raise ImportError(name)
    return _import(name, *arguments, **more)


class TestRemoteKeys:
    """They sign in the two ways of image lists, and nothing else."""

    def _key(self, label):
        return remote_key.remote_key(
            pki.key(label).public_key(), lambda *_: b'signed'
        )

    def test_rsa(self):
        key = self._key('rsa remote')
        pkcs1 = padding.PKCS1v15()
        assert key.sign(b'', pkcs1, hashes.SHA256()) == b'signed'
        assert key.key_size == 2048
        assert copy.copy(key) is copy.deepcopy(key) is key
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        for act in (
            lambda: key.sign(b'', pss, hashes.SHA256()),
            lambda: key.sign(b'', pkcs1, utils.Prehashed(hashes.SHA256())),
            lambda: key.decrypt(b'', pkcs1),
            key.private_numbers,
            key.private_bytes,
        ):
            with pytest.raises(errors.Misconfigured, match='nothing else'):
                act()

    def test_ec(self):
        key = self._key('ec remote')
        assert key.sign(b'', ec.ECDSA(hashes.SHA256())) == b'signed'
        assert (key.key_size, key.curve.name) == (256, 'secp256r1')
        assert copy.copy(key) is copy.deepcopy(key) is key
        prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        for act in (
            lambda: key.sign(b'', prehashed),
            lambda: key.exchange(ec.ECDH(), key.public_key()),
            key.private_numbers,
            key.private_bytes,
        ):
            with pytest.raises(errors.Misconfigured, match='nothing else'):
                act()

    def test_other_kinds(self):
        with pytest.raises(errors.Misconfigured, match='RSA or EC'):
            self._key('ed remote')
