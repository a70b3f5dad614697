"""configs/potsdam6.py under IIC's protocol, see configs/potsdam3_iic_protocol.py.

python -m ar_seg_jax.main --config configs/potsdam6_iic_protocol.py --config.data.root=/path/to/potsdam --workdir runs/p6
"""

from configs import potsdam3_iic_protocol, potsdam6


def get_config():
    return potsdam3_iic_protocol.of_all_images(potsdam6.get_config())
