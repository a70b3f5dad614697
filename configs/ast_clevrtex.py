"""AST on CLEVRTEX, as in its supplement: a complex background model, glimpses with two scales, and MiT-B3.

    python -m ar_seg_jax.main --config configs/ast_clevrtex.py --config.data.root=/path/to/clevrtex \
      --config.initial_weights.file=/path/to/mit_b3.safetensors

See configs/ast_clevr.py. The other variants of the data are for tests.
"""

from configs import ast_clevr, common


def get_config():
    config = common.get_config()
    config.data = {
        'name': 'clevrtex',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'root': '',
        'variant': 'full',
    }
    return ast_clevr.supplement(config, background_steps=500_000)
