"""AST on the frames of a video from a camera that moves: configs/ast_video_fixed.py with a longer training of the background.

    python -m ar_seg_jax.main --config configs/ast_video_moving.py --config.data.root=/path/to/frames --workdir runs/video \\
      --config.initial_weights.file=/path/to/mit_b3.safetensors

The released code asks for 24,000 batches of 64 frames, and at least 20 passes over the video: 64,000 steps here, which are 20
passes for up to 76,800 frames. It has no such video; slots and the width of appearances are those of two of its others.
"""

from configs import ast_video_fixed


def get_config():
    return ast_video_fixed.video(background_steps=24_000, slots=16, width=24)
