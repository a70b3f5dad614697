"""Configs of runs that began with an older version of this program, which knew fewer keys."""

import copy
from collections.abc import Mapping
from typing import Any

# Keys that were added since, by their part of the config ('' for its top) and the names of what has them ('' for all), each with
# the value that says what was done before. A key whose older meaning no value has does not belong here: such a run cannot go on.
_ADDED = (
    ('', '', 'save_seconds', 120.0),
    ('data', 'folder', 'percentiles', [1.0, 99.0]),
    ('data', 'folder', 'skip', 0.0),
    ('initial_weights', '', 'layout', 'own'),
    ('initial_weights', '', 'without', []),
    ('method', 'ac', 'common_taps_only', False),
    ('method', 'ac', 'shares', []),
    ('method', 'ac', 'margin', 0),
    ('method', 'ac', 'regions', 0),
    ('method', 'ac', 'contrast', 0.0),
    ('method', 'ac', 'temperature', 0.1),
    ('method', 'iic', 'shares', []),
    ('method', 'iic', 'margin', 0),
    ('method', 'ast', 'smallest_object', 0.0),
    ('method', 'arl', 'common_taps_only', False),
    ('method', 'mixture', 'components', 0),
    ('method', 'smooseg', 'cached', False),
    ('method', 'stego', 'cached', False),
    ('model', 'autoregressive', 'normalise', 'none'),
    ('model', 'autoregressive', 'borders', 'zeros'),
    ('model', 'vit', 'magnify', 1),
    ('optimizer', '', 'warmup_power', 1.0),
    ('optimizer', '', 'shard_state', False),
    ('optimizer', '', 'gradient_dtype', 'float32'),
)


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config, with the keys that were added since, at the values that its run had; keys that it has stay as they are."""
    config = copy.deepcopy(dict(config))
    for part, name, key, value in _ADDED:
        options = config.get(part) if part else config
        if isinstance(options, dict) and name in ('', options.get('name')):
            options.setdefault(key, value)
    return config
