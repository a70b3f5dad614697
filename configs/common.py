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
        'auxiliary_clusters': 0,  # of a second head for the loss only (overclustering); 0 has none
        'variant': 'F2',  # F1..F5
        'blocks': 5,  # residual blocks, 1..5
        'output_stride': 4,  # 2 or 4
        'attention': False,
        'heads': 1,
        'dropout': 0.0,
        'zigzag': 'corner',  # convolutions under zigzag orderings: corner, alternate or raster
        'dtype': 'float32',  # of the computation: float32 or bfloat16
        'remat': False,  # compute residual blocks again in the backward pass: less memory, more time
    }
    config.method = {
        'name': 'ac',  # ac or arl, which takes the keys from 'orderings' to 'sobel', and config.arl
        'displacement': 10,  # half-window T of the joint, pixels
        'collapsed': True,  # average the joint over displacements before MI (AC); False averages MI (IIC)
        'symmetric': True,
        'entropy_weight': 1.0,  # lambda; above 1 asks for evener clusters, below 1 allows uneven ones
        'entropy_steps': 0,  # steps over which lambda goes from 1 to its value
        'orderings': 'raster',  # raster, zigzag, all, or names separated by commas
        'sampling': 'random',  # random, no_repetition, hard (least overlap of the pasts) or hard_loss (worst of some pairs)
        'candidates': 4,  # pairs that hard_loss compares
        'transformations': 'none',  # of the second view: none, jitter, flip, turn or all
        'sobel': False,  # append Sobel gradients to the image
        'mask_void': False,  # leave unlabelled pixels out of the loss
    }
    config.arl = {  # its training ends as AC's does, after `steps` or `epochs`
        'width': 64,  # channels of what is learned
        'displacement': 1,  # half-window of the positives, places of the feature map
        'temperature': 1.0,  # scores are divided by it
        'negatives': 0,  # places of each image that are drawn as negatives; 0 takes all of them
    }
    config.evaluation = {
        # <matching>:<matched on>:<scored on>; the first one is followed during training
        'protocols': ('one-to-one:val:val',),
        'crop_size': 0,  # centre crop, pixels; 0 takes whole images
        'batch_size': 60,
        'baselines': True,  # also score the untrained network and k-means on pixels and on SIFT descriptors
        # classifiers of the frozen network, linear or non-linear, of its features or ('linear:logits') of its decoder's output
        'probes': ('linear', 'non-linear'),
        'probe_split': '',  # whose labels they are trained with; '' is data.train_split
        'probe_steps': 100,  # batches they are trained on
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
