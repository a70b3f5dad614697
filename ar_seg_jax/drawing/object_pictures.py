"""The objects that were found in an image as a picture: boxes, the images that they are put together from, and each of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from ar_seg_jax.data import images
from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import label_maps
from ar_seg_jax.drawing.label_maps import RGB

Box = Sequence[int]  # left, top, width, height, pixels

_SIDE = 160  # pixels of the longer side of a picture
_SQUARE = 8  # pixels of a square of the pattern that shows where a glimpse is transparent
_LIGHT, _DARK = 235, 200
_FONT_SIZE = 12  # pixels


def picture(
    image: UInt8[np.ndarray, 'height width channels'],
    labels: Integer[np.ndarray, 'height width'],
    boxes: Mapping[int, Box],
    views: Mapping[str, UInt8[np.ndarray, '_ _ channels']],
    glimpses: UInt8[np.ndarray, 'slots _ _ channels_and_mask'],
    classes: Sequence[Class],
    caption: str,
) -> Image.Image:
    """A row: the image, `views` of it by title, its objects with their boxes, and the glimpse of each object that is seen.

    labels: numbers of objects, 0 the background. boxes: by number. classes: the background and the objects, by number.
    """
    height, width = (max(1, round(_SIDE * length / max(image.shape[:2]))) for length in image.shape[:2])
    shown = {
        'image': images.resize(image[..., :3], height, width),
        **{title: images.resize(view[..., :3], height, width) for title, view in views.items()},
        'objects': outlined(image, labels, boxes, classes, height, width),
        **{
            classes[number].name: label_maps.centred(glimpse(glimpses[number - 1], min(height, width)), height, width)
            for number in boxes
        },
    }
    seen = [classes[number] for number in (0, *boxes)]
    return label_maps.panel([list(shown.values())], list(shown), seen, caption, font_size=_FONT_SIZE)


def outlined(
    image: UInt8[np.ndarray, 'height width channels'],
    labels: Integer[np.ndarray, 'height width'],
    boxes: Mapping[int, Box],
    classes: Sequence[Class],
    new_height: int,
    new_width: int,
) -> UInt8[np.ndarray, '{new_height} {new_width} 3']:
    """The image at a new size, its objects in their colours, with boxes and numbers."""
    larger = images.resize(image[..., :3], new_height, new_width)
    numbers = images.resize(labels.astype(np.uint8), new_height, new_width, label=True)
    overlay = label_maps.overlay(larger, label_maps.paint(numbers, classes))
    canvas = Image.fromarray(np.where(numbers[..., None] > 0, overlay, larger))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_SIZE)
    wide, high = new_width / image.shape[1], new_height / image.shape[0]
    for number, (left, top, width, height) in boxes.items():
        corners = (left * wide, top * high, (left + width) * wide - 1, (top + height) * high - 1)
        draw.rectangle(corners, outline=tuple(classes[number].colour))
        draw.text(corners[:2], str(number), 'white', font, stroke_width=1, stroke_fill='black')
    return np.array(canvas)


def glimpse(one: UInt8[np.ndarray, '_ _ channels_and_mask'], side: int) -> RGB:
    """The colours of a glimpse over a pattern of squares, as far as its mask lets them through."""
    colours, mask = (images.resize(part, side, side) for part in (one[..., :3].copy(), one[..., -1].copy()))
    rows, columns = np.indices((side, side)) // _SQUARE
    pattern = np.where((rows + columns) % 2, _LIGHT, _DARK)[..., None]
    share = mask[..., None] / 255
    return np.uint8(np.round(share * colours + (1 - share) * pattern))
