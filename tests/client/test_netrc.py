from __future__ import annotations

from pathlib import Path

import pytest

from p2pstore.client import netrc as netrc_module
from p2pstore.client.netrc import Netrc
from p2pstore.errors import BadConfig

TEXT = "machine data.example login me password secret\nmachine open.example login anonymous password x\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    path.write_text(TEXT)
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setattr(netrc_module, "_LOOK_AGAIN_S", 0.0)
    return path


def test_credentials_of_a_host(file: Path) -> None:
    netrc = Netrc()
    assert netrc.credentials("https://data.example:8443/x") == {"user": "me", "password": "secret"}
    assert netrc.credentials("https://other.example/x") is None
    assert netrc.credentials("file:///data.example") is None
    assert netrc.credentials("https://you@data.example/x") is None


def test_the_default_is_for_everybody_else(file: Path) -> None:
    file.write_text(TEXT + "default login guest password none\n")
    assert Netrc().credentials("http://other.example/") == {"user": "guest", "password": "none"}


def test_a_changed_file_is_read_again_and_a_missing_one_is_none(file: Path) -> None:
    netrc = Netrc()
    assert netrc.credentials("https://data.example/") is not None
    other = file.with_name("other")
    other.write_text(TEXT.replace("secret", "newer"))
    other.chmod(0o600)
    other.rename(file)
    assert netrc.credentials("https://data.example/") == {"user": "me", "password": "newer"}
    file.unlink()
    assert netrc.credentials("https://data.example/") is None


def test_passwords_that_others_can_read_are_not_used(file: Path) -> None:
    file.chmod(0o644)
    netrc = Netrc()
    assert netrc.credentials("https://other.example/") is None
    with pytest.raises(BadConfig, match="others may read"):
        netrc.credentials("https://data.example/")


def test_what_cannot_be_read_says_so_without_its_contents(file: Path) -> None:
    file.write_text("machine data.example password hunter2 nonsense")
    with pytest.raises(BadConfig) as caught:
        Netrc().credentials("https://data.example/")
    assert "hunter2" not in str(caught.value) and str(file) in str(caught.value)
