"""AST on the frames of a video from a camera that stands still, with the settings of its released code for natural images.

    python -m ar_seg_jax.main --config configs/ast_video_fixed.py --config.data.root=/path/to/frames --workdir runs/video \\
      --config.initial_weights.file=/path/to/mit_b3.safetensors

Frames are images in a folder, at any depth; masks of objects are optional and serve evaluation only: ar_seg_jax/data/instances.py
says how they are found. Frames of any size are brought to 200 x 320 pixels. A tenth of them, drawn by chance, is the split val,
which frames before and after it all but show: a splits.csv says otherwise, and --config.data.train_split=train+val trains on all
frames, as published. Where light does not change either, --config.method.background=simple and fewer steps do.

The supplement has no settings for videos; these are of the released code. Its background model sees 10,000 batches of 64 frames
and the foreground batches of 24. Here all are of 24, and the background has 26,667 steps to see as many (configs/ast_clevr.py has
the reason, and the weights of the encoder). Of its videos one has 24 slots with appearances of 16 numbers, as here, and two have
16 slots and 24 numbers.
"""

from configs import ast_clevr, ast_instances_small


def get_config():
    return video(background_steps=10_000, slots=24, width=16)


def video(background_steps, slots, width):
    """background_steps: in batches of 64. slots: most objects of a frame. width: numbers of the appearance of each."""
    size = (200, 320)
    config = ast_clevr.supplement(
        ast_instances_small.of_folder(size),
        background_steps,
        background_batch=64,
        steps=500_000,
        batch=24,
        num_clusters=slots + 1,
        width=width,
        image_size=size,
        glimpse_size=128,
        largest_scale=40.0,
        background_activation_map=True,
        entropy_steps=20_000,
        frozen_steps=60_000,
    )
    config.optimizer.update(learning_rate=1e-5, warmup_steps=20_000)
    config.optimizer.schedule.last = 50_000
    config.evaluation.split = 'val'
    return config
