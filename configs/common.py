"""Every key of a config, with its default. Other configs change what differs.

Keys below `data` are the options of one data set and are set as a whole: see the `builder` function in
ar_seg_jax/data/<name>.py.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0  # of parameters, orderings, and the order and crops of images
    config.steps = 0  # length of the training; set this or epochs
    config.epochs = 0.0
    config.learning_rate = 4e-5  # of Adam

    config.data = {
        'name': 'textures',  # coco_stuff, folder, potsdam or textures
        'data_dir': '~/tensorflow_datasets',  # where prepared data sets are kept
        'train_split': 'train',  # TFDS syntax, such as 'train+val'
    }
    config.pipeline = {
        'crop_size': 128,  # pixels
        'batch_size': 60,  # images, over all devices
        'read_threads': 4,
        'workers': 0,  # processes that decode; 0 decodes in threads
        'micro_batches': 1,  # parts of a batch that are computed one after another; more take less memory and more time
    }
    config.model = {
        'name': 'autoregressive',
        'num_clusters': 3,
        'variant': 'F2',  # F1..F5
        'blocks': 5,  # residual blocks, 1..5
        'output_stride': 4,  # 2 or 4
        'attention': False,
        'heads': 1,
        'dropout': 0.0,
        'zigzag': 'corner',  # convolutions under zigzag orderings: corner, alternate or raster
        'dtype': 'float32',  # of the computation: float32 or bfloat16
    }
    config.method = {
        'name': 'ac',
        'displacement': 10,  # half-window T of the joint, pixels
        'collapsed': True,  # average the joint over displacements before MI (AC); False averages MI (IIC)
        'symmetric': True,
        'entropy_weight': 1.0,  # lambda; above 1 asks for evener clusters, below 1 allows uneven ones
        'entropy_steps': 0,  # steps over which lambda goes from 1 to its value
        'orderings': 'raster',  # raster, zigzag, all, or names separated by commas
        'sampling': 'random',  # random or no_repetition
        'sobel': False,  # append Sobel gradients to the image
        'mask_void': False,  # leave unlabelled pixels out of the loss
    }
    config.evaluation = {
        # <matching>:<matched on>:<scored on>; the first one is followed during training
        'protocols': ('one-to-one:val:val',),
        'crop_size': 0,  # centre crop, pixels; 0 takes whole images
        'batch_size': 60,
        'baselines': True,  # also score the untrained network and k-means on pixels and on SIFT
        'pictures': 6,  # images in the picture of results
    }
    config.log_every = 50  # steps
    config.evaluate_every = 1000
    config.checkpoint_every = 1000
    config.keep_checkpoints = 2  # the newest ones
    config.keep_every = 0  # steps; checkpoints at multiples of it are kept for ever; 0 keeps none of them
    config.stop_after_skipped = 10  # steps in a row that are not applied because something is not finite; 0 goes on
    config.compilation_cache = ''  # directory of compiled programs; '' is beside the workdir, 'none' keeps none
    config.profile = ''  # steps to trace for the profiler, such as '10-12'
    return config
