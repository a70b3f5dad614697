"""Every key of a config, with its default. Other configs change what differs.

`config.data`, `config.model`, `config.method`, `config.optimizer` and each of `config.evaluators` are the options of what they
name, and are replaced as a whole by a config that names something else: `config.method = common.arl()`. What options mean is
said where they end up: ar_seg_jax/data/<name>.py, models/<name>.py, methods/<name>.py, training/optimizer.py, evaluation/.
"""

from typing import Any

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0  # of parameters, orderings, and the order and crops of images
    config.steps = 0  # length of the training; set this or epochs
    config.epochs = 0.0  # passes over the training split; the last batch may go on into the next one

    config.data = {
        'name': 'textures',  # one of DATASETS in ar_seg_jax/runs/assembly.py
        'data_dir': '~/tensorflow_datasets',  # where prepared data sets are kept
        'train_split': 'train',  # TFDS syntax, such as 'train+val'
    }
    config.pipeline = {
        'crop_size': 128,  # pixels of a side, or (height, width)
        'batch_size': 60,  # images, over all devices
        'read_threads': 4,
        'workers': 0,  # processes that decode; 0 decodes in threads
        'mask_void': False,  # leave unlabelled pixels out of losses and k-means, methods' and baselines' alike
        'micro_batches': 1,  # parts of a batch that are computed one after another; more take less memory and more time
    }
    config.model = autoregressive()
    config.method = ac()
    config.optimizer = adam()
    # of phases of a method that have an optimiser of their own, by the name of the phase: {'background': adamw()}
    config.phase_optimizers = {}
    config.initial_weights = {
        'file': '',  # .npz, .safetensors, or the directory of a run, to begin with; '' draws all weights
        'of': '',  # the part of it that is taken, such as 'network'; '' is all of it
        'into': '',  # the part of the parameters that it goes to
        'without': (),  # groups of parameters that stay as they are drawn, such as 'decoder' for another number of clusters
        # how the file calls its arrays: own (as here), mit (SegFormer), torchvision_resnet18 or vit (timm, DINO, DINOv2)
        'layout': 'own',
    }
    config.frozen = ()  # groups of parameters that are not trained, such as 'stem'; their batch statistics stay too

    config.evaluation = {
        'split': 'val',  # is scored and pictured
        'crop_size': 0,  # centre crop, pixels of a side, or (height, width); 0 takes whole images
        'batch_size': 60,  # or fewer, where the split is smaller
        'pictures': 6,  # images in the picture of results
    }
    config.evaluators = {
        'segmentation': {
            # one-to-one or many-to-one (:<matched on>:<scored on>, the split if left out); the first is followed during training
            'protocols': ('one-to-one',),
            'baselines': True,  # also score the network before training, and k-means on pixels and on SIFT descriptors
        },
        'probes': {
            # classifiers of the frozen network, linear or non-linear, of its features or ('linear:logits') of what scores are
            # made of
            'names': ('linear', 'non-linear'),
            'split': '',  # whose labels they are trained with; '' is data.train_split
            'pixels': 50_000,  # labelled pixels that they are trained on, to the end
            'steps': 1000,  # of the non-linear ones, each with 1024 of these pixels
        },
    }
    config.log_every = 50  # steps
    config.evaluate_every = 1000
    config.checkpoint_every = 1000
    config.save_seconds = 120.0  # that training waits for a save at most; one that takes longer goes on beside it
    config.keep_checkpoints = 2  # the newest ones
    config.keep_every = 0  # steps; checkpoints at multiples of it are kept for ever; 0 keeps none of them
    config.stop_after_skipped = 10  # steps in a row that are not applied because something is not finite; 0 goes on
    config.compilation_cache = ''  # directory of compiled programs; '' is one in the user's cache, 'none' keeps none
    config.profile = ''  # steps to trace for the profiler, such as '10-12'
    return config


def instances() -> dict[str, Any]:
    """The evaluators of data whose labels are numbers of objects, in place of all others: config.evaluators = ..."""
    return {
        'instances': {
            'baselines': True,  # also score the network before training, and predictors that learned nothing of objects
            'threshold': 30.0,  # of the difference from the median image, which is one of them, in levels of 255
        }
    }


def autoregressive() -> dict[str, Any]:
    """The model of AC and ARL."""
    return {
        'name': 'autoregressive',
        'variant': 'F2',  # F1..F5
        'blocks': 5,  # residual blocks, 1..5
        'output_stride': 4,  # 2 or 4
        'attention': False,
        'attention_heads': 1,
        'attention_merge': 'concatenate',  # or add
        'dropout': 0.0,
        'zigzag': 'corner',  # convolutions under zigzag orderings: corner, alternate or raster
        'geometry': 'centred',  # where cells of the maps are taken to be: centred (where they are) or paper (1.5 pixels further)
        'dtype': 'float32',  # of the computation: float32 or bfloat16
        'remat': False,  # compute residual blocks again in the backward pass: less memory, more time
        'normalise': 'none',  # the input: none (images in [0, 1]) or data (mean 0 and deviation 1 over the training images)
        # what convolutions see beyond a map: zeros, replicate (cells of the border again, where no ordering masks) or partial
        # (nothing; what is inside stands for all taps)
        'borders': 'zeros',
    }


def resnet_fpn() -> dict[str, Any]:
    """The model of PiCIE. Its ResNet-18 can begin with published weights, see `initial_weights`."""
    return {
        'name': 'resnet_fpn',
        'width': 128,  # channels of the features
        'base_channels': 64,  # of the first stage of the ResNet; fewer make a smaller network, without published weights
        'geometry': 'centred',  # where cells are taken to be: centred (where they are) or paper (1.5 pixels further)
        'normalise': 'imagenet',  # the input: none, imagenet or half ([-1, 1]); published weights want that of their training
        'dtype': 'float32',  # of the computation: float32 or bfloat16
    }


def vit() -> dict[str, Any]:
    """A vision transformer, for published weights: those of DINO ViT-S/16. For others change these:

    DINO S/8: patch 8, grid 28. B/16: width 768, attention_heads 12. timm's ViT-Ti/16 (AugReg): width 192, attention_heads 3,
    normalise half. DINOv2 S/14: patch 14, grid 37, layer_scale True; with registers: resampling antialias, registers 4.
    """
    return {
        'name': 'vit',
        'patch': 16,  # pixels of a side
        'width': 384,  # channels
        'depth': 12,  # blocks
        'attention_heads': 6,
        'grid': 14,  # cells of a side of the learned position embedding
        'resampling': 'dino',  # of that embedding for other sizes: dino or antialias
        'layer_scale': False,  # learned factors on the residuals
        'registers': 0,  # tokens beside those of patches and class
        'normalise': 'imagenet',  # the input: none, imagenet or half ([-1, 1]); published weights want that of their training
        'magnify': 1,  # factor by which images are enlarged first; 2 makes cells of half a patch
        'dtype': 'float32',  # of the computation: float32 or bfloat16
    }


def segformer() -> dict[str, Any]:
    """A model of AST. Its encoder can begin with published weights, see `initial_weights`."""
    return {
        'name': 'segformer',
        'variant': 'B3',  # B0..B5
        # how its decode head brings coarse maps to the size of the finest: paper (stretched, half-pixel) or centred
        'interpolation': 'paper',
        'dropout': 0.1,  # of the features
        'drop_path': 0.1,  # how often the last block leaves out what it adds; 0 in the first one
        'normalise': 'none',  # the input: none (AST), imagenet (how published weights were trained) or half ([-1, 1])
        'dtype': 'float32',  # of the computation: float32 or bfloat16
        'remat': False,  # compute blocks of the encoder again in the backward pass: less memory, more time
    }


def unet() -> dict[str, Any]:
    """The U-Net of AST's ablations for images of less than 200 pixels; for larger ones widths 48, 64, 96, 128, 128, 256, 256."""
    return {
        'name': 'unet',
        'widths': (80, 128, 192, 256, 256, 256),  # channels of the first map and after each halving of the resolution
        'width': 0,  # channels of the features; 0 is as many as those of all heads together
        'dtype': 'float32',  # of the computation: float32 or bfloat16
    }


def compact_unet() -> dict[str, Any]:
    """A model of AST for small machines, of a million parameters."""
    return {
        'name': 'compact_unet',
        'widths': (24, 48, 96, 120),  # channels of maps of stride 2, 4, 8 and 16
        'dtype': 'float32',  # of the computation: float32 or bfloat16
    }


def views() -> dict[str, Any]:
    """How the two views of AC and ARL differ."""
    return {
        'orderings': 'raster',  # raster, zigzag, all, names separated by commas, or none (views differ by transformations alone)
        'sampling': 'random',  # random, no_repetition, hard (least overlap of the pasts) or hard_loss (worst of some pairs)
        'candidates': 4,  # pairs that hard_loss compares
        'transformations': 'none',  # of the second view: none, jitter, flip, turn or all
        'sobel': False,  # append Sobel gradients to the image
        'common_taps_only': False,  # no gradient of kernel taps that one of the views masks, as in the paper's code
    }


def ac() -> dict[str, Any]:
    """Autoregressive clustering."""
    return {
        'name': 'ac',
        'num_clusters': 3,
        'auxiliary_clusters': 0,  # of a second head for the loss only (overclustering); 0 has none
        'displacement': 10,  # half-window T of the joint, pixels
        'collapsed': True,  # average the joint over displacements before MI (AC); False averages MI (IIC)
        'symmetric': True,
        'entropy_weight': 1.0,  # lambda; above 1 asks for evener clusters, below 1 allows uneven ones
        'entropy_steps': 0,  # steps over which lambda goes from 1 to its value
        'shares': (),  # of the pixels that classes have, roughly, where these are known: H(y) above theirs is not rewarded
        'margin': 0,  # pixels at the borders of crops that do not count
        'regions': 0,  # mean size, in pixels, of the superpixels over which scores are averaged before MI; 0 for none
        'contrast': 0.0,  # weight of InfoNCE between the places of one view and the clusters of the other
        'temperature': 0.1,  # of it: cosines are divided by it
        **views(),
    }


def arl() -> dict[str, Any]:
    """Autoregressive representation learning. Its training ends as AC's does, after `steps` or `epochs`."""
    return {
        'name': 'arl',
        'num_clusters': 3,  # into which k-means sorts what was learned
        'width': 64,  # channels of what is learned
        'displacement': 1,  # half-window of the positives, places of the feature map
        'temperature': 1.0,  # scores are divided by it
        'negatives': 0,  # places of each image that are drawn as negatives; 0 takes all of them
        **views(),
    }


def iic() -> dict[str, Any]:
    """Invariant information clustering, as its code has it for COCO-Stuff-3."""
    return {
        'name': 'iic',
        'num_clusters': 3,
        'auxiliary_clusters': 15,  # of the over-clustering head; 0 has none
        'sub_heads': 1,  # copies of each head, whose losses are averaged
        'alternate': True,  # heads are trained in alternating passes over the data; False trains both in each step
        'displacement': 10,  # half-window T of the joint, pixels
        'collapsed': False,  # average MI over displacements; True averages the joint before (AC)
        'symmetric': True,
        'entropy_weight': 1.5,  # lambda; above 1 asks for evener clusters
        'auxiliary_entropy_weight': 1.0,
        'shares': (),  # of the pixels that classes have, roughly, where these are known: H(y) above theirs is not rewarded
        'margin': 0,  # pixels at the borders of crops that do not count
        # changes of the second view: factors of colours are from 1 - x to 1 + x, hue is a share of the circle
        'brightness': 0.4,
        'contrast': 0.4,
        'saturation': 0.4,
        'hue': 0.125,
        'flip': 0.5,  # probability
        'rotation': 0.0,  # degrees to either side
        'shear': 0.0,  # degrees to either side
        'scale': 0.0,  # factors are from 1 - x to 1 + x
        'sobel': True,  # append Sobel gradients to the image
    }


def patch_pairs() -> dict[str, Any]:
    """What the methods of Doersch and of Isola share."""
    return {
        'num_clusters': 3,  # into which k-means sorts the features
        'patch': 11,  # side of the patches, pixels, odd
        'locations': 'image',  # a pair of patches for each image (the papers) or one for the batch (code of IIC)
        'comparator': 'pooled',  # compares the patches' means over places; full: all of them (IIC), 250 million parameters more
        'comparator_width': 1024,  # channels of what compares patches
        # changes of images: factors of colours are from 1 - x to 1 + x, hue is a share of the circle; IIC's on COCO-Stuff
        'brightness': 0.4,
        'contrast': 0.4,
        'saturation': 0.4,
        'hue': 0.125,
        'flip': 0.5,  # probability
        'sobel': False,  # append Sobel gradients to the image
    }


def isola() -> dict[str, Any]:
    """Isola et al. 2016 as IIC adapted it: are two patches of the features neighbours?"""
    return patch_pairs() | {'name': 'isola'}


def doersch() -> dict[str, Any]:
    """Doersch et al. 2015 as IIC adapted it: in which direction does one patch of the features lie from another?"""
    return patch_pairs() | {
        'name': 'doersch',
        'directions': 9,  # 8, or 9 of which the last is the first again (IIC)
        'colour_dropping': True,  # two of three colours become noise
    }


def colours() -> dict[str, Any]:
    """The model of mixtures of colours."""
    return {
        'name': 'colours',
        # none, or mean: divide colours by their means over the image, which makes up for different lights
        'relative': 'none',
        'dtype': 'float32',
    }


def vgg() -> dict[str, Any]:
    """The model of IIC."""
    return {
        'name': 'vgg',
        'channels': 64,  # of the first convolution; the others have 2, 4, 4, 8 and 8 times as many
        # where cells are taken to be: aligned (where they are: each covers two pixels, where cells of other models
        # are 'centred' at one) or paper (stretched, with a ring of 1/K)
        'geometry': 'aligned',
        'dtype': 'float32',  # of the computation: float32 or bfloat16
    }


def pseudo_labels() -> dict[str, Any]:
    """How DeepCluster and PiCIE see images, and how they seek clusters."""
    return {
        'width': 0,  # channels of a linear map of the features that is clustered; 0 clusters the features themselves
        'colours': 'paper',  # how those of views change: none, paper or released (PiCIE's paper or its released code)
        'smallest_crop': 0.5,  # least side of the part that views show, as a share of that of the image
        'flip': 0.5,  # probability
        'shrink': 1,  # pixels of an image to one that the network sees, along each side
        'initial_batches': 20,  # that k-means begins with; it goes once over the others
        'iterations': 20,  # of k-means on the initial batches
        'vectors_of_image': 400,  # places of each image that k-means sees; 0 for all, which may not fit into memory
    }


def deep_cluster() -> dict[str, Any]:
    """DeepCluster for pixels. With frequency for balance it is the baseline MDC of PiCIE's paper."""
    return {
        'name': 'deep_cluster',
        'num_clusters': 3,  # into which k-means sorts what was learned
        'training_clusters': 0,  # that are learned; 0 is as many
        'head': 'fresh',  # the classifier: fresh in each epoch, or the centroids themselves
        'pca_whiten': 0,  # principal components that are clustered; 0 clusters what there is
        'balance': 'inverse',  # weights of pixels by the size of their cluster: none, inverse or frequency
        **pseudo_labels(),
    }


def picie() -> dict[str, Any]:
    """PiCIE, and with auxiliary clusters PiCIE+H."""
    return {
        'name': 'picie',
        'num_clusters': 3,
        'auxiliary_clusters': 0,  # of a second clustering of each view (100 in PiCIE+H); 0 has none
        'scores': 'cosine',  # of clusters: cosine (paper) or dot (released code)
        'balance': 'frequency',  # weights of pixels by the size of their cluster: none, inverse or frequency (released code)
        **pseudo_labels(),
    }


def mixture() -> dict[str, Any]:
    """A Gaussian mixture of what pixels look like and where they are."""
    return {
        'name': 'mixture',
        'num_clusters': 3,
        'components': 0,  # principal components of an encoder's features, beside colours; 0 for colours alone
        'layout': 0,  # places of each side of a map of what images show there on average, such as 16; 0 for none
        'shrinkage': 0.1,  # of the covariance of each cluster towards that of all, 0 to 1
        'smoothing': 2,  # pixels around each one that it is likely to be alike; 0 looks at each by itself
        'initial_batches': 20,  # from which k-means finds what training begins with
        'iterations': 20,  # of it
        'vectors_of_image': 500,  # pixels of each image of these batches
    }


def smooseg() -> dict[str, Any]:
    """SmooSeg's head on a frozen encoder, as its code has it for Cityscapes. Use `smooseg_optimizer` with it."""
    return {
        'name': 'smooseg',
        'num_clusters': 3,
        'width': 64,  # channels of the code
        'dropout': 0.2,  # share of the channels of the features that a training step is without
        'temperature': 0.1,  # by which cosines are divided before the softmax
        'upsampling': 'bilinear',  # of scores to pixels: bilinear, or bilateral, by the colours of the image too
        'cached': True,  # the encoder sees each training image once, whole; False: each crop in each step
        'within': -0.02,  # how alike places of an image are from which on they should have one cluster; 0.1 on Potsdam
        'between': 0.5,  # how alike those of two images are
        'decay': 0.998,  # what is left of the teacher's prototypes after a step
    }


def smooseg_optimizer() -> dict[str, Any]:
    """Adam with PyTorch's epsilon, as for SmooSeg: 1e-4 for the projector, 5e-4 for the prototypes."""
    return adam() | {'learning_rate': 1e-4, 'eps': 1e-8, 'rates': {'prototypes': 5.0}}


def stego(terms: str = 'cocostuff_small') -> dict[str, Any]:
    """STEGO's head on a frozen encoder. Use `stego_optimizer` with it. terms: the published ones, by a name of `STEGO_TERMS`."""
    return {
        'name': 'stego',
        'num_clusters': 3,
        'width': 70,  # channels of the code; 90 to 100 for ViT-B
        'dropout': 0.1,  # share of the channels of the features that a training step is without
        'temperature': 0.5,  # by which cosines are divided before the softmax of predictions
        'upsampling': 'bilinear',  # of scores to pixels: bilinear, or bilateral, by the colours of the image too
        'cached': True,  # the encoder sees each training image once, whole; False: each crop in each step
        **STEGO_TERMS[terms],
        'points': 121,  # of each image that a step compares
        'other_images': 5,  # that each one is compared with
    }


def _stego_terms(own, neighbour, others) -> dict[str, float]:
    """Weights of the parts of the loss, and the shifts: how alike features are from which on codes should be alike."""
    terms = {'own': own, 'neighbour': neighbour, 'others': others}
    return {
        f'{name}_{what}': value for name, term in terms.items() for what, value in zip(('weight', 'shift'), term, strict=True)
    }


# As published; small and potsdam for DINO's ViT-S/8, base for its ViT-B/8.
STEGO_TERMS = {
    'cocostuff_small': _stego_terms(own=(0.67, 0.08), neighbour=(0.25, 0.02), others=(0.63, 0.66)),
    'cocostuff_base': _stego_terms(own=(0.1, 0.12), neighbour=(1.0, 0.2), others=(0.154, 1.0)),
    'cityscapes': _stego_terms(own=(1.0, 0.458), neighbour=(0.577, 0.175), others=(0.906, 0.314)),
    'potsdam': _stego_terms(own=(0.67, 0.08), neighbour=(0.25, 0.02), others=(0.63, 0.46)),
}


def stego_optimizer() -> dict[str, Any]:
    """Adam with PyTorch's epsilon, as for STEGO: 5e-4 for the projector, 5e-3 for the prototypes."""
    return adam() | {'learning_rate': 5e-4, 'eps': 1e-8, 'rates': {'prototypes': 10.0}}


def ast() -> dict[str, Any]:
    """Attention, soft-argmax and a transformer: the background and objects, as for CLEVRTEX. Use `ast_optimizers` with it."""
    return {
        'name': 'ast',
        'num_clusters': 11,  # the background and one slot for each object that an image can have
        'image_size': 128,  # pixels of a side, or (height, width); that of pipeline.crop_size
        # the background model: simple or complex (autoencoders), or image (one image that is learned)
        'background': 'complex',
        'width': 32,  # numbers of the appearance of an object
        'scales': 2,  # of a glimpse: 1 for both sides, or 2, each
        'smallest_scale': 1.3,  # how many times a glimpse goes into the image, along a side, at least ...
        'largest_scale': 24.0,  # ... and at most
        'glimpse_size': 64,  # pixels of a glimpse before it is placed; 32 for images of 64, 64 for 128, 128 for larger ones
        'attention_grid': 'corners',  # places of cells of attention maps, see soft_argmax: corners (released code) or centres
        'transformer_depth': 6,  # layers of the transformer over slots; 0 leaves it out
        'transformer_width': 256,
        'transformer_heads': 8,
        'transformer_feedforward': 512,
        'dropout': 0.1,  # in the transformer
        'background_activation': 11.0,  # at first; a logit. Slots begin near 0 and must rise against it
        'background_activation_map': False,  # learn another logit for each pixel (videos)
        'entropy_weight': 0.01,  # of the pixels' squared entropy ...
        'entropy_steps': 10_000,  # ... over which it grows with the square of the steps, from the end of the background's phase
        'scenario': 'CT',  # BT (all together from the beginning), frozen (background, then foreground) or CT (and then together)
        'background_steps': 500_000,  # of the background alone, in scenarios frozen and CT; published for batches of 128
        'frozen_steps': 30_000,  # of the foreground with a frozen background, in scenario CT
        'smallest_object': 0.0,  # share of an image; predictions are without slots that have less
    }


def ast_optimizers() -> dict[str, Any]:
    """The parts `optimizer` and `phase_optimizers` for AST, as for CLEVRTEX: `config.update(common.ast_optimizers())`.

    The foreground's epsilon is as small as its gradients are at first, with a background activation of e^11.
    """
    foreground = {'b2': 0.98, 'eps': 1e-9, 'warmup_steps': 5000, 'warmup_power': 2.0}
    background = {'weight_decay': 0.0, 'eps': 1e-8, 'learning_rate': 2e-3}
    return {
        'optimizer': adam() | foreground | {'schedule': {'name': 'drop', 'last': 12_500, 'factor': 0.1}},
        'phase_optimizers': {'background': adamw() | background | {'schedule': {'name': 'drop', 'last': 100_000, 'factor': 0.1}}},
    }


def supervised() -> dict[str, Any]:
    """Learning from labels, for what they are worth and what another method's network is worth as a start."""
    return {
        'name': 'supervised',
        'num_clusters': 3,  # classes of the data
        # changes of images: factors of colours are from 1 - x to 1 + x, hue is a share of the circle
        'brightness': 0.4,
        'contrast': 0.4,
        'saturation': 0.4,
        'hue': 0.125,
        'flip': 0.5,  # probability
    }


def adam() -> dict[str, Any]:
    """Adam with the papers' defaults, but for epsilon.

    The joint distribution of the paper's code sums to H x W, ours to 1, and so gradients are smaller by as much: its epsilon of
    1e-8 is 6e-13 here, for images of 128 x 128. With 1e-8 the smallest gradients of deep networks would hardly move weights.
    """
    return _direction() | {'name': 'adam', 'b1': 0.9, 'b2': 0.999, 'eps': 1e-12}


def adamw() -> dict[str, Any]:
    """Adam with decoupled weight decay."""
    return adam() | {'name': 'adamw', 'weight_decay': 1e-2}


def sgd() -> dict[str, Any]:
    """Gradient descent with momentum."""
    return _direction() | {'name': 'sgd', 'momentum': 0.9, 'nesterov': False}


def _direction() -> dict[str, Any]:
    return {
        'learning_rate': 4e-5,
        'warmup_steps': 0,  # over which the rate goes from 0 to its value
        'warmup_power': 1.0,  # of the share of these steps that is done: 1 is a line, 2 its square
        # then one of {'name': 'linear' or 'cosine', 'final': share that is left after the last step},
        # {'name': 'steps', 'every': steps, 'factor': of the rate} and
        # {'name': 'drop', 'last': steps, 'factor': of the rate in these}
        'schedule': {'name': 'constant'},
        'clip_norm': 0.0,  # most of the norm of all gradients together; 0 for no limit
        'weight_decay': 0.0,
        'keep_unused': False,  # leave weights as they are that neither view used; else momentum goes on moving them
        'rates': {},  # factors on the rate of groups of parameters: {'stem': 0.1}
        'shard_state': False,  # moments split over the devices, instead of whole on each: less memory
        'gradient_dtype': 'float32',  # of the gradients that devices send each other; or bfloat16
    }
