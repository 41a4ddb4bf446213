"""uv is told what pip is told: indexes, links, authorities."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

LISTING = """\
:env:.cert='/company.pem'
:env:.extra-index-url='https://one.test/simple https://two.test/simple'
freeze.timeout='10'
global.cert='/other.pem'
global.constraint='/constraints.txt'
global.find-links='/wheels /more'
global.index-url='https://company.test/simple'
install.index-url='https://install.test/simple'
"""


@pytest.fixture
def uv_settings() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts/uv_settings.py"
    spec = importlib.util.spec_from_file_location("uv_settings", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_pip_is_told_uv_is_told(uv_settings: ModuleType) -> None:
    assert uv_settings.variables(uv_settings.told(LISTING), {"UV_FIND_LINKS": "/mine"}) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/company.pem",
        "UV_INDEX": "https://one.test/simple https://two.test/simple",
        "UV_DEFAULT_INDEX": "https://install.test/simple",
    }


def test_without_a_setting_the_authorities_of_the_system_are_taken(
    uv_settings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "ca.crt"
    system.touch()
    monkeypatch.setattr(uv_settings, "AUTHORITIES", str(system))
    assert uv_settings.variables({}, {})["SSL_CERT_FILE"] == str(system)
    assert "SSL_CERT_FILE" not in uv_settings.variables({}, {"SSL_CERT_FILE": "/mine.pem"})
