"""Pictures read as grey levels: which formats, what they may cost, and that nothing of the decoders is heard."""

import io
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from mnist_softmax.errors import DataError
from mnist_softmax.features import decode

ROOT = Path(__file__).parents[2]


def file_of(picture: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file


def test_the_help_and_the_pages_name_the_formats_that_are_read() -> None:
    names = list(decode.FORMATS.values())
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    for page in ("docs/cli.md", "docs/preparation.md"):
        assert listed in " ".join((ROOT / page).read_text(encoding="utf-8").split()), page


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "JPEG2000", "SGI", "EPS"])
def test_another_format_is_not_a_picture_whatever_pillow_makes_of_it(kind: str) -> None:
    file = file_of(Image.new("RGB", (32, 32)), kind)
    with pytest.raises(DataError, match=r"not a picture: p: expected PNG, JPEG, .* or WebP$"):
        decode.read_grey(file, "p")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_orientation_is_what_pillow_makes_of_it(orientation: int, kind: str) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    levels = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    file = file_of(Image.fromarray(levels), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    np.testing.assert_array_equal(decode.read_grey(file, "p"), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "F", "I", "I;16", "P"])
@pytest.mark.parametrize("shape", [(40, 50), (1, 333), (333, 1)])
def test_tiles_make_no_difference(monkeypatch: pytest.MonkeyPatch, mode: str, shape: Any) -> None:
    bands = {"RGB": 3, "RGBA": 4}.get(mode, 1)
    levels = np.random.default_rng(0).integers(0, 256, (*shape, bands)).astype(np.uint8)
    dtype = {"F": np.float32, "I": np.int32, "I;16": np.uint16}.get(mode, np.uint8)
    picture = Image.fromarray(levels.squeeze(2).astype(dtype) if bands == 1 else levels)
    picture = picture.quantize(9) if mode == "P" else picture
    options = {"transparency": 4} if mode == "P" else {}
    file = file_of(picture, "PNG" if mode in {"P", "RGBA"} else "TIFF", **options)
    whole = decode.read_grey(file, "p")
    monkeypatch.setattr(decode, "_TILE", 32)
    np.testing.assert_array_equal(decode.read_grey(file, "p"), whole)


def crafted_jpeg() -> bytes:
    good = file_of(Image.new("L", (9, 9)), "JPEG").getvalue()
    return good[:2] + b"\xff\xe5\0\3a" * 400_000 + good[2:]


def crafted_gif() -> bytes:
    good = file_of(Image.new("P", (9, 9)), "GIF").getvalue()
    image = good.rindex(b",", 0, -10)
    return good[:image] + b"\x21\xfe\1a\0" * 400_000 + good[image:]


def crafted_png() -> bytes:
    good = file_of(Image.new("L", (9, 9)), "PNG").getvalue()
    return good[:33] + struct.pack(">I", 50 << 20) + b"prVt" + bytes(50 << 20) + bytes(4) + good[33:]


@pytest.mark.parametrize("make", [crafted_jpeg, crafted_gif, crafted_png])
def test_a_file_of_countless_or_huge_parts_beside_the_pixels_is_refused(make: Any) -> None:
    with pytest.raises(DataError, match="too many or too large parts"):
        decode.read_grey(io.BytesIO(make()), "p")


@pytest.mark.parametrize(("kind", "mode"), [("BMP", "RGB"), ("PPM", "RGB"), ("PPM", "L"), ("TIFF", "L")])
def test_a_file_of_many_megabytes_without_compression_is_read(kind: str, mode: str) -> None:
    pixels = 48 << 20
    size = (6144, pixels // 6144 // len(mode))
    file = file_of(Image.new(mode, size, "white"), kind)
    assert file.seek(0, os.SEEK_END) > pixels * 0.99
    assert decode.read_grey(file, "p").min() == 255


def test_a_file_longer_than_any_picture_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "long", "wb") as file:
        file.truncate(decode.LARGEST_FILE + 1)
    with open(tmp_path / "long", "rb") as opened, pytest.raises(DataError, match=r"too large: p: .* 128 MiB"):
        decode.read_grey(opened, "p")


def test_a_plain_anymap_of_comments_takes_no_square_of_its_length() -> None:
    file = io.BytesIO(b"P2 1 1 255\n" + b"#a\n" * 300_000 + b"7\n")
    assert decode.read_grey(file, "p").tolist() == [[7]]


def test_a_large_colour_jpeg_is_read_without_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = 90 + np.random.default_rng(0).integers(0, 40, (64, 64, 3))
    file = file_of(Image.fromarray(levels.astype(np.uint8)), "JPEG", subsampling=0)
    in_colour = decode.read_grey(file, "p").astype(int)
    monkeypatch.setattr(decode, "LARGEST", file.getbuffer().nbytes + 8 * 64 * 64)
    assert np.abs(decode.read_grey(file, "p") - in_colour).max() <= 2
    monkeypatch.setattr(decode, "LARGEST", 6 * 64 * 64)
    with pytest.raises(DataError, match="64 x 64 pixels"):
        decode.read_grey(file, "p")


_MEASURED = """
import resource, sys
from mnist_softmax.features import decode, normalize
normalize.normalize(decode.read_grey(open(sys.argv[1], "rb"), "p"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")
@pytest.mark.parametrize("mode", ["L", "RGBA", "F", "JPEG", "WEBP", "strip"])
def test_no_more_memory_is_taken_than_is_counted(tmp_path: Path, mode: str) -> None:
    side = 3000
    levels = np.zeros((side, side), np.uint8)
    levels[700:2000, 900:1500] = np.random.default_rng(0).integers(100, 255, (1300, 600))
    path = tmp_path / "p"
    picture = Image.fromarray(levels).convert(mode if mode in {"L", "RGBA", "F"} else "RGB")
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "F": ("TIFF", {"compression": "tiff_lzw"}),
        "JPEG": ("JPEG", {"progressive": True, "subsampling": 0}),
        "WEBP": ("WEBP", {"lossless": True, "method": 0}),
        "strip": ("TIFF", {"compression": "tiff_lzw"}),
    }
    kind, options = kinds.get(mode, ("PNG", {"compress_level": 1}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TiffImagePlugin, "STRIP_SIZE", 1 << 40 if mode == "strip" else 65536)
        picture.save(path, kind, **options)
    with Image.open(path) as opened:
        counted = decode._memory(opened) + path.stat().st_size

    def taken(file: Path) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(file)], capture_output=True, text=True, check=True
        )
        return int(done.stdout) << 10

    small = tmp_path / "small"
    picture.crop((700, 700, 1100, 1100)).save(small, kind, **options)
    assert taken(path) - taken(small) < counted + (16 << 20)


@pytest.mark.skipif(sys.platform == "win32", reason="file descriptors")
def test_nothing_that_libtiff_prints_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8))
    heard = ""
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        good = file_of(picture, "TIFF", compression=compression).getvalue()
        for place in range(200, len(good) - 200, 50):
            bad = good[:place] + bytes(9) + good[place + 9 :]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
                with suppress(Exception):
                    Image.open(io.BytesIO(bad)).load()
            heard += capfd.readouterr().err
            with suppress(DataError):
                decode.read_grey(io.BytesIO(bad), "p")
            assert capfd.readouterr() == ("", "")
    assert heard, "the files of this test make libtiff print"
