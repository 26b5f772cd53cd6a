"""Loading into an engine that others use at the same time."""

from __future__ import annotations

from typing import Any

from docker.errors import ImageNotFound

from repro_env.image.docker_engine import _known_layers


class Engine:
    """An engine from which an image is removed between being listed and being looked at."""

    def images(self) -> list[dict[str, str]]:
        return [{"Id": "gone"}, {"Id": "here"}, {"Id": "empty"}]

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name == "gone":
            raise ImageNotFound("no such image: gone")
        return {"RootFS": {"Layers": ["sha256:a"]} if name == "here" else {}}


def test_an_image_that_is_removed_meanwhile_does_not_count() -> None:
    assert list(_known_layers(Engine())) == [["sha256:a"], ()]
