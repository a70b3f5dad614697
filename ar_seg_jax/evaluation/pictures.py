"""Label maps as pictures."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageDraw

from ar_seg_jax.classes import Class
from ar_seg_jax.interfaces import VOID

_GAP = 4  # pixels between pictures
_LINE = 16  # pixels of a line of text
RGB = UInt8[np.ndarray, 'height width 3']


def paint(label: Int[np.ndarray, 'height width'], classes: Sequence[Class]) -> RGB:
    """A label map in the colours of its classes; VOID and unmatched labels are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = [colour for _, colour in classes]
    return table[label.astype(np.uint8)]


def palette_image(label: Int[np.ndarray, 'height width'], classes: Sequence[Class]) -> Image.Image:
    """An 8-bit palette image whose pixel values are the labels and whose palette is the colours of the classes."""
    image = Image.fromarray(label.astype(np.uint8), 'P')
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(classes)] = [colour for _, colour in classes]
    image.putpalette(palette.reshape(-1).tolist())
    return image


def overlay(image: UInt8[np.ndarray, 'height width channels'], painted: RGB, opacity: float = 0.45) -> RGB:
    """A painted label map over its image (its first three channels)."""
    return np.array(Image.blend(Image.fromarray(image[..., :3].copy()), Image.fromarray(painted), opacity))


def panel(rows: Sequence[Sequence[RGB]], titles: Sequence[str], classes: Sequence[Class], caption: str) -> Image.Image:
    """Rows of pictures of one size under column titles, above a legend of the classes and a caption."""
    height, width = rows[0][0].shape[:2]
    columns = len(titles)
    total_width = max(columns * (width + _GAP) + _GAP, 480)
    legend_top = _GAP + _LINE + len(rows) * (height + _GAP)
    entries = _legend(classes, total_width)
    canvas = Image.new('RGB', (total_width, legend_top + (entries[-1][1] + 2) * _LINE + 2 * _GAP), 'white')
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        draw.text((_GAP + column * (width + _GAP), _GAP // 2), title, fill='black')
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            place = (_GAP + column * (width + _GAP), _GAP + _LINE + row * (height + _GAP))
            canvas.paste(Image.fromarray(picture), place)
    for (left, line, _), (name, colour) in zip(entries, classes, strict=True):
        top = legend_top + line * _LINE
        draw.rectangle((left, top + 2, left + 10, top + 12), fill=tuple(colour), outline='black')
        draw.text((left + 15, top), name, fill='black')
    draw.text((_GAP, legend_top + (entries[-1][1] + 1) * _LINE), caption, fill='black')
    return canvas


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, 'png')
    return stream.getvalue()


def _legend(classes: Sequence[Class], width: int) -> list[tuple[int, int, int]]:
    """Left edge, line and width of each legend entry, broken into lines that fit."""
    places, left, line = [], _GAP, 0
    for name, _ in classes:
        length = 30 + round(ImageDraw.Draw(Image.new('RGB', (1, 1))).textlength(name))
        if left + length > width and left > _GAP:
            left, line = _GAP, line + 1
        places.append((left, line, length))
        left += length
    return places


def classes_of(clusters: Int[np.ndarray, '*shape'], mapping: Int[np.ndarray, 'clusters']) -> UInt8[np.ndarray, '*shape']:
    """Class of each pixel from its cluster; VOID for unmatched clusters."""
    return np.where(mapping < 0, VOID, mapping).astype(np.uint8)[clusters]
