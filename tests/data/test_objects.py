import concurrent.futures

import numpy as np
import pytest
import scipy.spatial

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import objects, pipeline, raytracing, scenes
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.patterns import KINDS, Pattern, draw
from ar_seg_jax.data.raytracing import Camera, Light, Scene, Solid

GREY = Pattern('plain', np.full((2, 3), 0.5, np.float32))
CAMERA = Camera(np.array([5.0, -4.0, 3.0], np.float32), np.array([0.0, 0.0, 0.5], np.float32), 0.6)
SUN = Light(np.array([300.0, 400.0, 900.0], np.float32), 0.01, 1e10)  # so far away and small that shadows are sharp
SIZE = 48


def _scene(*solids, lights=(SUN,), ambient=0.0):
    return Scene(solids, GREY, CAMERA, lights, ambient)


def _projected(points):
    """Row and column, in pixels, at which a pinhole camera sees points (3, n); pixel i has its centre at i."""
    eye, target = CAMERA.eye.astype(float), CAMERA.target.astype(float)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    x, y, z = np.stack([right, up, forward]) @ (points - eye[:, None])
    scale = SIZE / 2 / np.tan(CAMERA.field / 2)
    return np.stack([SIZE / 2 - 0.5 - scale * y / z, SIZE / 2 - 0.5 + scale * x / z])


def _outline(solid):
    """Points (3, n) whose convex hull is the solid, or nearly so where it is round."""
    if solid.shape == 'sphere':
        directions = np.random.default_rng(0).normal(size=(3, 4000))
        own = directions / np.linalg.norm(directions, axis=0)
    else:
        corners = {'cube': (4, 2**0.5), 'prism': (6, (4 / 3) ** 0.5), 'cylinder': (400, 1.0)}[solid.shape]
        angle = {'cube': np.pi / 4, 'prism': np.pi / 6, 'cylinder': 0.0}[solid.shape]
        angles = solid.angle + angle + 2 * np.pi * np.arange(corners[0]) / corners[0]
        ring = corners[1] * np.stack([np.cos(angles), np.sin(angles)])
        own = np.concatenate([np.vstack([ring, np.full(corners[0], height)]) for height in (-1.0, 1.0)], axis=1)
    return solid.radius * own + np.array([[solid.x], [solid.y], [solid.radius]])


@pytest.mark.parametrize('shape', raytracing.SHAPES)
def test_a_mask_is_the_convex_hull_of_the_solid_as_a_pinhole_camera_sees_it(shape):
    solid = Solid(shape, 0.2, -0.1, 0.7, 0.3, GREY)
    label = raytracing.render(_scene(solid), SIZE, np.random.default_rng(0))[1]
    sides = scipy.spatial.ConvexHull(_projected(_outline(solid)).T).equations
    expected = (np.stack(np.mgrid[:SIZE, :SIZE], axis=-1) @ sides[:, :2].T + sides[:, 2] <= 0).all(axis=-1)
    assert 100 < expected.sum() < SIZE**2 / 2
    assert np.count_nonzero(expected != (label == 1)) <= (2 if shape in ('sphere', 'cylinder') else 0)  # a hull of chords


def test_the_nearer_solid_hides_the_other_and_what_is_seen_is_counted():
    near, far = Solid('sphere', 0.75, -0.6, 0.5, 0.0, GREY), Solid('cube', -0.5, 0.4, 0.7, 0.2, GREY)
    scene = _scene(far, near)
    label = raytracing.render(scene, SIZE, np.random.default_rng(0))[1]
    alone = [raytracing.render(_scene(solid), SIZE, np.random.default_rng(0))[1] > 0 for solid in (far, near)]
    assert (alone[0] & alone[1]).any()
    np.testing.assert_array_equal(label, np.select([alone[1], alone[0]], [2, 1], 0))
    seen, whole = raytracing.visible(scene, SIZE)
    np.testing.assert_array_equal(seen, np.bincount(label.reshape(-1))[1:])
    np.testing.assert_array_equal(whole, [mask.sum() for mask in alone])


def test_the_shadow_of_a_sphere_is_where_its_distance_from_the_way_to_the_light_is_less_than_its_radius():
    sphere = Solid('sphere', 0.0, 0.0, 0.6, 0.0, GREY)
    image, label = raytracing.render(_scene(sphere), SIZE, np.random.default_rng(0))
    grid = np.stack(np.mgrid[:SIZE, :SIZE], axis=-1).reshape(-1, 2)
    # Places on the floor, found by asking where a fine mesh of them is seen.
    mesh = np.stack(np.meshgrid(np.linspace(-2, 2, 400), np.linspace(-2, 2, 400))).reshape(2, -1)
    mesh = np.vstack([mesh, np.zeros(mesh.shape[1])])
    places = mesh[:, scipy.spatial.cKDTree(_projected(mesh).T).query(grid)[1]]
    towards = SUN.place.astype(float) / np.linalg.norm(SUN.place)
    distance = np.linalg.norm(np.cross((np.array([0, 0, 0.6])[:, None] - places).T, towards), axis=1).reshape(SIZE, SIZE)
    lit = image[..., 0].astype(int)
    near = np.abs(places).max(axis=0).reshape(SIZE, SIZE) < 1.9
    dark, bright = ((label == 0) & near & mask for mask in (distance < 0.5, distance > 0.7))
    assert dark.sum() > 20 and (lit[dark] == 0).all()
    assert bright.sum() > 200 and lit[bright].min() > 0


def test_brightness_follows_the_cosine_and_the_distance_of_the_light():
    light = Light(np.array([1.0, 2.0, 8.0], np.float32), 0.5, 10.0)
    image = raytracing.render(_scene(lights=(light,)), SIZE, np.random.default_rng(0))[0]
    row, column = 30, 24
    mesh = np.stack(np.meshgrid(np.linspace(-1, 1, 500), np.linspace(-1, 1, 500))).reshape(2, -1)
    mesh = np.vstack([mesh, np.zeros(mesh.shape[1])])
    place = mesh[:, np.argmin(np.linalg.norm(_projected(mesh).T - [row, column], axis=1))]
    from_light = place - light.place
    distance = np.linalg.norm(from_light)
    at_light = -from_light @ light.place / distance / np.linalg.norm(light.place)
    linear = 0.5 * 10 * 4 * 0.25 / np.pi / distance**2 * (8 / distance) * at_light
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(image[row, column], expected, atol=1)


def test_soft_shadows_have_the_share_of_the_light_that_is_seen():
    """Slowly: by asking of many points between a place and many points of the light whether they are inside the cube."""
    half, light = 0.6, Light(np.array([6.0, 0.0, 6.0], np.float32), 1.0, 30.0)
    with_cube, label = raytracing.render(
        _scene(Solid('cube', 0.0, 0.0, half, 0.0, GREY), lights=(light,)), SIZE, np.random.default_rng(0)
    )
    without = raytracing.render(_scene(lights=(light,)), SIZE, np.random.default_rng(0))[0]
    share = _linear(with_cube)[..., 0] / _linear(without)[..., 0]
    across, up = np.array([0, 1, 0]), np.array([-1, 0, 1]) / 2**0.5  # directions of the sides of the light
    side = np.linspace(-0.95, 0.95, 20)
    goals = light.place + side[:, None, None] * across + side[:, None] * up
    along = np.linspace(0, 0.6, 300)[:, None, None, None]
    for x, most in ((-2.6, 1.0), (-2.25, 0.6), (-1.9, 0.3)):
        place = np.array([x, 0.0, 0.0])
        between = place + along * (goals - place)
        inside = (np.abs(between[..., :2]) < half).all(axis=-1) & (between[..., 2] < 2 * half)
        expected = 1 - inside.any(axis=0).mean()
        row, column = np.round(_projected(place[:, None])[:, 0]).astype(int)
        found = share[row - 1 : row + 2, column - 1 : column + 2]
        assert (label[row - 1 : row + 2, column - 1 : column + 2] == 0).all()
        assert expected < most and abs(found.mean() - expected) < 0.1


def _linear(image):
    x = image / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize('kind', KINDS)
def test_a_pattern_mixes_its_two_colours_and_is_the_same_wherever_it_is_asked_from(kind):
    rng = np.random.default_rng(0)
    pattern = draw(rng, np.array([[0.1, 0.2, 0.3], [0.8, 0.6, 0.7]]), 1.5)
    pattern = Pattern(kind, pattern.colours, pattern.frequency, pattern.angle, pattern.shift, pattern.waves, pattern.phases)
    points = rng.uniform(-2, 2, (3, 3000)).astype(np.float32)
    albedo = pattern.albedo(points)
    np.testing.assert_array_equal(pattern.albedo(points[:, ::-1])[:, ::-1], albedo)
    # The way from the first colour to the second, in every channel, but for the noise of at most 16 %.
    share = (albedo[0] / albedo[2] * 0.3 - 0.1) / (albedo[0] / albedo[2] * (0.3 - 0.7) + (0.8 - 0.1))
    assert share.min() > -1e-3 and share.max() < 1.001
    assert share.std() > 0.15
    assert albedo.min() >= 0 and albedo.max() <= 0.8 * 1.16 + 1e-6


@pytest.mark.parametrize('level', scenes.LEVELS)
def test_objects_of_every_level_are_large_enough_and_numbered_from_1(level):
    for index in range(4):
        image, label = scenes.picture((0, 0, index), level, 32, 2, 5)
        areas = np.bincount(label.reshape(-1))
        assert image.shape == (32, 32, 3) and 2 <= len(areas) - 1 <= 5
        assert areas[1:].min() >= 0.005 * 32**2 and areas[0] > 0


def test_no_solid_is_hidden_by_more_than_60_percent():
    for index in range(6):
        scene = scenes.draw(np.random.default_rng(index), 'plain', 32, 6, 6)
        label = raytracing.render(scene, 32, np.random.default_rng(0))[1]
        for number, solid in enumerate(scene.solids, start=1):
            alone = Scene([solid], scene.floor, scene.camera, scene.lights, 0.1)
            assert (label == number).sum() >= 0.4 * (raytracing.render(alone, 32, np.random.default_rng(0))[1] > 0).sum()


def test_plain_scenes_share_floor_and_lights_and_camouflaged_solids_have_the_colours_of_the_floor():
    plain = [scenes.draw(np.random.default_rng(seed), 'plain', 32, 2, 2) for seed in (0, 1)]
    assert plain[0].camera is plain[1].camera and plain[0].lights is plain[1].lights
    np.testing.assert_array_equal(plain[0].floor.colours, plain[1].floor.colours)
    hidden = scenes.draw(np.random.default_rng(0), 'camouflage', 32, 3, 3)
    for solid in hidden.solids:
        assert solid.pattern.kind == hidden.floor.kind
        np.testing.assert_array_equal(solid.pattern.colours, hidden.floor.colours)
    shown = scenes.draw(np.random.default_rng(0), 'textured', 32, 3, 3)
    assert len({tuple(solid.pattern.colours.reshape(-1)) for solid in shown.solids}) == 3


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    options = {'size': 24, 'train_count': 6, 'val_count': 4, 'test_count': 4}
    return builders.prepare(objects.builder(data_dir=str(tmp_path_factory.mktemp('tfds')), **options))


def _examples(data, split):
    source = pipeline.source(data, split)
    return {e['id']: e for e in (pipeline.decode(source[index]) for index in range(len(source)))}


def test_an_image_follows_from_seed_split_and_index_alone(prepared):
    assert prepared.builder_config.instances and prepared.builder_config.classes == ()
    seen = set()
    for number, split in enumerate(('train', 'val', 'test')):
        found = _examples(prepared, split)
        assert len(found) == {'train': 6}.get(split, 4)
        for name, example in found.items():
            image, label = scenes.picture((0, number, int(name.split('_')[1])), 'plain', 24, 3, 6)
            np.testing.assert_array_equal(example['image'], image)
            np.testing.assert_array_equal(example['label'], label)
            seen.add(image.tobytes())
    assert len(seen) == 14  # no two splits share an image


def test_processes_make_the_same_images_in_the_same_order(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(objects, '_FEW', 2)
    monkeypatch.setattr(objects.os, 'cpu_count', lambda: 2)
    started = []
    pool = concurrent.futures.ProcessPoolExecutor
    monkeypatch.setattr(concurrent.futures, 'ProcessPoolExecutor', lambda *a, **k: started.append(a[0]) or pool(*a, **k))
    options = {'size': 24, 'train_count': 6, 'val_count': 0, 'test_count': 0}
    again = builders.prepare(objects.builder(data_dir=str(tmp_path), **options))
    assert started == [2] and list(again.info.splits) == ['train']
    expected = _examples(prepared, 'train')
    for name, example in _examples(again, 'train').items():
        np.testing.assert_array_equal(example['image'], expected[name]['image'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'level': 'hard'}, "plain, textured, camouflage, found 'hard'"),
        ({'size': 8}, 'at least 16, found 8'),
        ({'fewest': 4, 'most': 3}, 'fewest <= most <= 10, found 4, 3'),
        ({'most': 11}, 'fewest <= most <= 10, found 3, 11'),
        ({'train_count': -1}, 'at least 0'),
        ({'seed': -1}, 'at least 0'),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        objects.builder(data_dir=str(tmp_path), **options)
