"""Pictures of every format, sound, mutated and huge, through `predict --json` in forked processes.

A format that the program names is read or refused as damaged, and any other is refused, whatever the file is called.
Nothing but the program's own lines is printed, no program is started, and time and memory stay bounded.
"""

import io
import json
import random
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common import Row, Tally
from forks import Ended, Forks
from mutations import CONTROL, INTERESTING, mutate_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

#: Width and height, odd enough to be found again in a header.
SIZE = (37, 41)
MEGABYTES = 500
SECONDS = 10
#: About as large as a photograph gets, in three shapes.
HUGE = ((7000, 7000), (49_000, 1000), (1000, 49_000))
#: What the program reads: format, options, modes.
READ: list[tuple[str, dict[str, Any], str]] = [
    ("PNG", {}, "1 L LA P RGB RGBA I;16"),
    ("JPEG", {}, "L RGB CMYK"),
    ("JPEG", {"progressive": True}, "L RGB CMYK"),
    ("WEBP", {"lossless": True}, "RGB RGBA"),
    ("WEBP", {}, "RGB RGBA"),
    ("BMP", {}, "1 L P RGB RGBA"),
    ("GIF", {}, "L P"),
    ("GIF", {"interlace": 0}, "L"),
    ("PPM", {}, "1 L RGB I"),
    ("TIFF", {}, "1 L LA P RGB RGBA CMYK YCbCr I F I;16"),
    *(("TIFF", {"compression": name}, "1") for name in ("tiff_ccitt", "group3", "group4")),
    ("TIFF", {"compression": "tiff_lzw"}, "1 L LA P RGB RGBA CMYK I F I;16"),
    ("TIFF", {"compression": "tiff_adobe_deflate"}, "1 L LA P RGB RGBA CMYK I F I;16"),
    ("TIFF", {"compression": "packbits"}, "1 L P RGB I F I;16"),
    ("TIFF", {"compression": "jpeg"}, "L RGB CMYK"),
]
#: What it refuses: the same.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *(("AVIF", {}, "RGB"), ("BLP", {}, "P"), ("DDS", {}, "L RGB RGBA"), ("EPS", {}, "L RGB CMYK")),
    *(("ICNS", {}, "RGBA"), ("ICO", {}, "L RGBA"), ("IM", {}, "L RGB"), ("JPEG2000", {}, "L RGB")),
    *(("MSP", {}, "1"), ("PALM", {}, "1"), ("PCX", {}, "1 L RGB"), ("PDF", {}, "L RGB"), ("QOI", {}, "RGB")),
    *(("SGI", {}, "L RGB"), ("SPIDER", {}, "F"), ("TGA", {}, "L RGB"), ("XBM", {}, "1")),
]
#: Large sound pictures: format, options, modes.
LARGE: list[tuple[str, dict[str, Any], str]] = [
    ("PNG", {"compress_level": 1}, "1 L LA RGB RGBA I;16"),
    ("PNG", {"compress_level": 1, "transparency": 3}, "P"),
    ("JPEG", {}, "L RGB CMYK"),
    ("JPEG", {"progressive": True}, "RGB"),
    ("GIF", {}, "L"),
    ("BMP", {}, "1 L"),
    ("PPM", {}, "1 L"),
    ("TIFF", {"compression": "tiff_adobe_deflate"}, "L RGBA CMYK I F I;16"),
]


def by_hand() -> dict[str, bytes]:
    """Files of formats that Pillow or a viewer recognises, and that it cannot write."""
    body = bytes(SIZE[0] * SIZE[1])
    cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    2",
    ]
    cards += [f"NAXIS1  = {SIZE[0]:20}", f"NAXIS2  = {SIZE[1]:20}", "END"]
    fits = "".join(f"{card:80}" for card in cards).ljust(2880).encode()
    endless = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 37 41\n{} loop\nshowpage\n%%EOF\n"
    sun = struct.pack(">8I", 0x59A66A95, *SIZE, 8, len(body), 1, 0, 0)
    wmf = (
        b"\xd7\xcd\xc6\x9a\x00\x00"
        + struct.pack("<4hH", 0, 0, *SIZE, 72)
        + bytes(6)
        + b"\x01\x00\t\x00"
        + bytes(20)
    )
    emf = b"\x01\x00\x00\x00" + bytes(36) + b" EMF" + bytes(80)
    return {
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, SIZE[1], SIZE[0], 8, 1) + bytes(14) + body,
        "FITS": fits + body,
        "EPS that never ends": endless,
        "EPS with a DOS header": b"\xc5\xd0\xd3\xc6"
        + struct.pack("<7I", 32, len(endless), 0, 0, 0, 0, 0)
        + endless,
        "PostScript": b"%!PS\n(FORGED\\n) print\n{} loop\n",
        "WMF": wmf,
        "EMF": emf,
        "SUN": sun + body,
        "XPM": b'/* XPM */\nstatic char *x[] = {\n"2 1 2 1",\n"a c #000000",\n"b c #ffffff",\n"ab"};\n',
        "XV": b"P7 332\n#END_OF_COMMENTS\n37 41 255\n" + body,
        "CUR": b"\0\0\2\0\1\0" + bytes(16) + body,
        "DCX": struct.pack("<3I", 987654321, 12, 0) + body,
        "FLI": struct.pack("<IHHHHHH", 1000, 0xAF11, 1, *SIZE, 8, 0) + body,
        "GBR": struct.pack(">7I", 28, 2, *SIZE, 1, 0x47494D50, 10) + body,
        "GRIB": b"GRIB\0\0\0\1" + body,
        "BUFR": b"BUFR" + body,
        "HDF5": b"\x89HDF\r\n\x1a\n" + body,
        "MPEG": b"\0\0\1\xb3\x02\x50\x29" + body,
        "IPTC": b"\x1c\x03\x3c\x00\x02\x01\x00" + body,
        "FTEX": b"FTEX" + struct.pack("<IIIIII", 0, *SIZE, 1, 1, 0) + body,
        "PIXAR": b"\200\350\000\000" + bytes(1100),
        "MCIDAS": b"\0\0\0\0\0\0\0\4" + bytes(300),
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "HTML": b"<!DOCTYPE html><script>1</script>",
        "MVG": b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x'\n",
        "ZIP": b"PK\3\4" + body,
        "gzip": b"\x1f\x8b\x08" + body,
        "HEIC": b"\0\0\0\x18ftypheic" + body,
        "npy": b"\x93NUMPY\1\0" + body,
        "nothing": b"",
        "zeros": bytes(1000),
    }


def drawn(mode: str, size: tuple[int, int] = SIZE) -> "Image":
    """A stroke in a mode."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", size)
    ImageDraw.Draw(picture).line(
        (size[0] // 2, size[1] // 6, size[0] // 2, size[1] * 5 // 6), 255, max(4, size[0] // 12)
    )
    if mode.startswith("I"):  # levels of 16 bits
        picture = picture.convert("I").point(lambda level: level * 257)
    return picture.convert(mode)


def packed(kind: str, mode: str, options: dict[str, Any], size: tuple[int, int] = SIZE) -> bytes:
    """A sound file."""
    file = io.BytesIO()
    drawn(mode, size).save(file, kind, **options)
    return file.getvalue()


def sound(table: list[tuple[str, dict[str, Any], str]]) -> dict[str, bytes]:
    """The files of a table by name; without those that this Pillow cannot write."""
    from PIL import Image

    Image.init()
    return {
        " ".join([kind, mode, *map(str, options.values())]): packed(kind, mode, options)
        for kind, options, modes in table
        if kind in Image.SAVE
        for mode in modes.split()
    }


def with_checksums(data: bytes) -> bytes:
    """A PNG with the checksum of each chunk made right."""
    out, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def with_another_size(rng: random.Random, data: bytes) -> bytes:
    """One of the places that may hold width or height has another number."""
    out = bytearray(data)
    number = rng.choice(SIZE)
    value = rng.choice((*INTERESTING, 2, 100, 5000, 20_000, 60_000, 1 << 20))
    orders: tuple[Literal["big", "little"], ...] = ("big", "little")
    forms = [(form, number.to_bytes(width, form)) for width in (4, 2) for form in orders]
    texts = str(number).encode()
    places = [
        (m.start(), len(old), form) for form, old in forms for m in re.finditer(re.escape(old), data[:400])
    ]
    if texts in data[:100] and rng.random() < 0.5:
        return data.replace(texts, str(value).encode(), 1)
    if not places:
        return mutate_bytes(rng, data)
    at, width, form = rng.choice(places)
    out[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, form)
    return bytes(out)


def with_another_tag(rng: random.Random, data: bytes) -> bytes:
    """A TIFF with another tag, type, count or value."""
    out = bytearray(data)
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    entries = int.from_bytes(data[start : start + 2], order) if start + 2 <= len(data) else 0
    if data[:2] not in {b"II", b"MM"} or not entries:
        return mutate_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = start + 2 + 12 * rng.randrange(entries)
        place, width = rng.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 2)))
        values = (*INTERESTING, rng.randrange(256, 350), rng.randrange(20), rng.randrange(1 << 32))
        out[at + place : at + place + width] = (rng.choice(values) % (1 << 8 * width)).to_bytes(width, order)
    if rng.random() < 0.1:  # the next picture
        at = start + 2 + 12 * entries
        out[at : at + 4] = rng.choice((start, 8, 0, 1 << 31)).to_bytes(4, order)
    return bytes(out)


def mutated(rng: random.Random, files: list[bytes]) -> bytes:
    """One of the files, changed somehow."""
    data, other = rng.choice(files), rng.choice(files)
    match rng.randrange(8):
        case 0:
            data = data[: rng.randrange(len(data) + 1)]
        case 1:
            data = data + other if rng.random() < 0.5 else data[: len(data) // 2] + other[len(other) // 2 :]
        case 2:
            start = rng.choice((2, 4, 8, 12, 26, 54))
            data = other[:start] + data[start:]
        case 3 | 4:
            data = with_another_size(rng, data)
        case 5:
            data = with_another_tag(rng, data)
        case _:
            data = mutate_bytes(rng, data)
    return with_checksums(data) if rng.random() < 0.7 else data


def fault(ended: Ended, codes: set[int], source: str) -> str:
    """What is wrong with how `predict --json` ended."""
    if wrong := ended.fault(codes):
        return wrong
    if ended.megabytes > MEGABYTES:
        return f"{ended.megabytes:.0f} MB"
    if ended.cpu > SECONDS:
        return f"{ended.cpu:.1f} s of a processor"
    out, err = ended.out.decode("ascii", "replace"), ended.err.decode(errors="replace")
    if CONTROL.search(out + err) or not ended.out.isascii():
        return f"a control character: {out + err!r}"
    for line in err.splitlines():
        if (
            not line.startswith("mnist-softmax: error: ")
            and line != f"{source}: dark on light, so it was inverted"
        ):
            return f"noise on stderr: {err[-300:]!r}"
    try:
        facts = json.loads(out)
    except ValueError:
        return f"not one JSON object: {out[-300:]!r}"
    return (
        ""
        if facts["source"] == source and ("label" in facts) == (ended.code == 0)
        else f"wrong facts: {facts}"
    )


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """Every sound file once, then large ones, then mutated ones; with a small `count` a random part of them."""
    tally = Tally(notes={"mutated": 0, "read": 0, "most": 0.0, "slowest": 0.0, "large": 0})
    read, refused = sound(READ), {**sound(REFUSED), **by_hand()}
    folder.mkdir(parents=True)
    with Forks() as forks:
        forks.must("train", "--dataset", "mnist-sample", "--epochs", 1, cwd=folder)

        def attempt(name: str, data: bytes, codes: set[int]) -> None:
            source = rng.choice(("x.png", "x.jpg", "x", "x.eps"))
            (folder / source).write_bytes(data)
            ended = forks.run("predict", "--json", source, cwd=folder, seconds=60)
            tally.done += 1
            tally.notes["read"] += ended.code == 0
            tally.most("most", ended.megabytes)
            tally.most("slowest", ended.cpu)
            tally.expect(not (wrong := fault(ended, codes, source)), f"{name}: {wrong}")
            (folder / source).unlink()

        whole = [(name, data, {0}) for name, data in read.items()]
        whole += [(name, data, {4}) for name, data in refused.items()]
        for name, data, codes in rng.sample(whole, min(len(whole), count // 4)):
            attempt(f"sound {name}", data, codes)
        for kind, options, modes in LARGE if count >= 1000 else []:
            for mode in modes.split():
                size = rng.choice(HUGE)
                attempt(f"large {kind} {mode} {options} {size}", packed(kind, mode, options, size), {0, 4})
                tally.notes["large"] += 1
        files = [*read.values(), *rng.sample(sorted(refused.values()), len(refused) // 4)]
        while tally.done < count:
            name = f"{rng.getrandbits(64):x}"
            attempt(f"mutated {name}", mutated(random.Random(name), files), {0, 4})
            tally.notes["mutated"] += 1
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    notes = tally.notes
    return (
        f"{tally.done:,} files, {notes['mutated']:,} of them mutated and {notes['large']} of 49 megapixels "
        f"({notes['read']:,} read): {len(tally.bad)} tracebacks, wrong codes, programs started, or lines that are not "
        f"the program's; at most {notes['most']:.0f} MB and {notes['slowest']:.1f} s of a processor"
    )


ROW = Row(
    "pictures of every format, sound, mutated and large",
    3000,
    run,
    figure,
    "PNG, JPEG, WebP, BMP, GIF, PNM and TIFF in every mode and compression, and formats that must be refused: bytes, sizes and tags changed at random, "
    "cut, joined, with checksums made right again, under names of other formats; each through `predict --json` in a forked process in which an attempt "
    "to start a program ends it",
)
