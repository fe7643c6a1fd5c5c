"""Image files against the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.runtime.world import World
from ostro.services.image.files import ImageFiles, ImageStore
from ostro.testing.contracts.image_store import ImageStoreContract


class TestImageFiles(ImageStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ImageStore:
        return ImageFiles(World(), tmp_path / "images")
