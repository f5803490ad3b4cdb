"""Whom to believe."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from p2pstore.errors import BadConfig
from p2pstore.sources.tls import client_context


def test_a_ca_file_replaces_the_systems_authorities(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca_file)
    context = client_context(str(ca_file))
    assert len(context.get_ca_certs()) == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(BadConfig, match="ca_file"):
        client_context(str(ca_file))
