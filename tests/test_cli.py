"""What the commands share: their names, flags that fail with a sentence, and which errors show where they happened."""

import re
import runpy
import subprocess
import sys
import textwrap

import pytest

from ar_seg_jax import cli, config_files, processes
from tests.support import commands

AR_SEG = 'from ar_seg_jax.cli import ar_seg; ar_seg()'


def python(program, *arguments, cwd=commands.ROOT):
    """A program that has ended."""
    line = [sys.executable, '-c', program, *map(str, arguments)]
    environment = commands.environment(PYTHONPATH=str(commands.ROOT))
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_ar_seg_starts_the_module_of_a_command_with_the_arguments_that_follow_its_name(monkeypatch, name):
    started = []
    monkeypatch.setattr(runpy, 'run_module', lambda module, run_name, alter_sys: started.append((module, run_name, sys.argv[1:])))
    monkeypatch.setattr(sys, 'argv', ['ar-seg', name, '--workdir=a', '--step=3'])
    cli.ar_seg()
    module = {'train': 'main'}.get(name, name)
    assert started == [(f'ar_seg_jax.{module}', '__main__', ['--workdir=a', '--step=3'])]
    assert (commands.ROOT / 'ar_seg_jax' / f'{module}.py').exists()


@pytest.mark.parametrize(('arguments', 'status'), [([], 2), (['-h'], 0), (['--help'], 0)])
def test_ar_seg_alone_names_its_commands(monkeypatch, capsys, arguments, status):
    monkeypatch.setattr(sys, 'argv', ['ar-seg', *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.ar_seg()
    assert ended.value.code == status
    names = 'train,evaluate,score,predict,report,export,sweep,select,merge,explore,figures,convert,clean,doctor'
    assert capsys.readouterr().out == f'usage: ar-seg {{{names}}} --help\n'


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('trian', "; did you mean 'train'?"),
        ('main', "; did you mean 'train'?"),
        ('--workdir=a', ''),
    ],
)
def test_an_unknown_command_is_refused_with_the_one_that_was_meant(monkeypatch, capsys, name, meant):
    monkeypatch.setattr(sys, 'argv', ['ar-seg', name])
    with pytest.raises(SystemExit) as ended:
        cli.ar_seg()
    assert ended.value.code == 2
    names = 'clean, convert, doctor, evaluate, explore, export, figures, merge, predict, report, score, select, sweep, train'
    assert capsys.readouterr().err == f'error: ar-seg: there is no {name!r}, the names are {names}{meant}\n'


def test_flags_of_a_command_are_explained_by_its_own_help():
    done = python(AR_SEG, 'predict', '--help')
    assert '--workdir: Directory of the run.' in done.stdout and 'Label maps for new images.' in done.stdout
    assert '--config' not in done.stdout


def test_the_package_comes_without_jax_and_load_brings_it():
    program = "import sys, ar_seg_jax; print('jax' in sys.modules); ar_seg_jax.load; print('jax' in sys.modules)"
    assert python(program).stdout == 'False\nTrue\n'


@pytest.mark.parametrize('given', ['textures', 'textures.py', 'configs/textures.py'])
def test_a_config_is_found_by_its_name_or_as_a_file(monkeypatch, given):
    monkeypatch.chdir(commands.ROOT)
    assert config_files.config_file(given).resolve() == commands.ROOT / 'configs' / 'textures.py'


def test_a_file_of_ones_own_comes_before_a_config_of_its_name(monkeypatch, tmp_path):
    (tmp_path / 'textures').write_text('')
    monkeypatch.chdir(tmp_path)
    assert config_files.config_file('textures').resolve() == tmp_path / 'textures'


@pytest.fixture(params=['clone', 'installed'])
def place(request, tmp_path):
    """What is on the path of Python where the program comes from a clone, and where pip installed it: configs/ is within it."""
    if request.param == 'clone':
        return commands.ROOT
    package = tmp_path / 'site' / 'ar_seg_jax'
    package.mkdir(parents=True)
    for path in [*(commands.ROOT / 'ar_seg_jax').iterdir(), commands.ROOT / 'configs']:
        (package / path.name).symlink_to(path)
    return package.parent


def _trained_with_a_wrong_key(place, cwd, config, key):
    """What `python -m ar_seg_jax.main` in a directory says of a key that the config has not."""
    line = [sys.executable, '-m', 'ar_seg_jax.main', f'--config={config}', f'--config.{key}=1']
    environment = commands.environment(PYTHONPATH=str(place))
    done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    return done.stderr


def test_our_configs_import_ours_in_a_directory_with_other_configs(place, tmp_path):
    theirs = tmp_path / 'work' / 'configs'
    theirs.mkdir(parents=True)
    (theirs / '__init__.py').write_text('')
    (theirs / 'common.py').write_text('raise RuntimeError')
    told = _trained_with_a_wrong_key(place, theirs.parent, 'textures', 'sed')
    assert told.endswith("; did you mean 'seed'?\n") and "config: there is no 'sed', the names are checkpoint_every, " in told


def test_a_config_of_ones_own_imports_what_it_has_beside_it_and_ours(place, tmp_path):
    theirs = tmp_path / 'work' / 'configs'
    theirs.mkdir(parents=True)
    if place == commands.ROOT:  # where a directory without this file comes after the package configs
        (theirs / '__init__.py').write_text('')
    (theirs / 'sizes.py').write_text('SIZE = 3')
    for config in (theirs / 'mine.py', theirs.parent / 'mine.py'):
        lines = ('from configs import common, sizes', 'def get_config():', ' config = common.get_config()')
        config.write_text('\n'.join([*lines, ' config.size = sizes.SIZE', ' return config']))
        told = _trained_with_a_wrong_key(place, theirs.parent, config, 'siz')
        assert told.endswith("; did you mean 'size'?\n") and ', seed, size, steps,' in told


def test_a_config_of_ones_own_imports_ours_where_there_are_no_others(place, tmp_path):
    (tmp_path / 'mine.py').write_text('from configs import textures\nget_config = textures.get_config')
    assert "; did you mean 'seed'?" in _trained_with_a_wrong_key(place, tmp_path, 'mine.py', 'sed')


@pytest.mark.parametrize(
    ('given', 'named', 'meant'),
    [
        ('texturs', 'texturs', 'textures'),
        ('elsewhere/potsdam_3.py', 'potsdam_3', 'potsdam3'),
    ],
)
def test_an_unknown_config_is_refused_with_the_one_that_was_meant(tmp_path, given, named, meant):
    done = python(AR_SEG, 'train', f'--config={given}', cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, '')
    beginning, _, end = done.stderr.partition(', the names are ')
    assert beginning == f'error: --config: no file {given}; and among those that come with the program there is no {named!r}'
    assert end.startswith('ac_vit_folder, arl_coco15, arl_coco3, ')  # not common, which has no length
    assert end.endswith(f"; did you mean '{meant}'?\n")


def test_a_file_that_is_not_there_but_called_like_a_config_is_told(tmp_path):
    done = python(AR_SEG, 'train', '--config=elsewhere/textures.py', cwd=tmp_path)
    expected = "error: --config: no file elsewhere/textures.py; did you mean 'textures', which comes with the program?\n"
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.parametrize(
    ('override', 'place', 'found', 'names'),
    [
        ('--config.sed=1', 'config', 'sed', r".* seed, .*; did you mean 'seed'\?"),
        ('--config.data.sise=1', 'config.data', 'sise', r"data_dir, name, scale, .*; did you mean 'size'\?"),
        ('--config.evaluators.prob.steps=1', 'config.evaluators', 'prob', r"probes, segmentation; did you mean 'probes'\?"),
        (
            '--config.evaluators.probes.step=1',
            'config.evaluators.probes',
            'step',
            r"names, pixels, split, steps; did you mean 'steps'\?",
        ),
        ('--config.optimizer.schedule.last=1', 'config.optimizer.schedule', 'last', 'name'),
        ('--config.method.width=8', 'config.method', 'width', r'auxiliary_clusters, candidates, .*'),
    ],
)
def test_a_wrong_key_is_told_with_its_place_and_the_keys_there(override, place, found, names):
    """The config is given by its name, as one argument or as two."""
    for config in (['--config=textures'], ['--config', 'textures']):
        done = python(AR_SEG, 'train', *config, '--config.steps=3', override)
        assert done.returncode == 2
        message = f"error: wrong key or value in the config: {place}: there is no '{found}', the names are {names}\n"
        assert re.fullmatch(message, done.stderr), done.stderr


def test_a_key_below_a_value_is_told():
    done = python(AR_SEG, 'train', '--config=textures', '--config.data.size.x=1')
    expected = "error: wrong key or value in the config: config.data.size is a value and has no 'x'\n"
    assert (done.returncode, done.stderr) == (2, expected)


def run(body, *arguments, **environment):
    """`cli.run` with a main function of this body."""
    lines = ['from absl import flags', 'from ar_seg_jax import cli', 'from ar_seg_jax.errors import UserError', 'def main():']
    program = '\n'.join([*lines, f'    {body}', 'cli.define_process_flags()', 'cli.run(main)'])
    line = [sys.executable, '-c', program, *arguments]
    options = {'capture_output': True, 'text': True, 'timeout': 120}
    return subprocess.run(line, env=commands.environment(PYTHONPATH=str(commands.ROOT), **environment), **options)


@pytest.mark.parametrize(
    ('body', 'status', 'message'),
    [
        ("raise UserError('no rows')", 1, 'error: no rows\n'),
        (r"raise UserError('two\nlines and \x1b[2J')", 1, 'error: two\\nlines and \\x1b[2J\n'),
        ("open('/nowhere/a')", 1, "error: [Errno 2] No such file or directory: '/nowhere/a'\n"),
        ('raise KeyboardInterrupt', 130, 'error: interrupted\n'),
        ('return 75', 75, ''),
        ('return None', 0, ''),
    ],
)
def test_what_a_user_can_mend_is_told_in_a_line(body, status, message):
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (status, '', message)


@pytest.mark.parametrize(('end', 'status'), [("raise UserError('no rows')", 1), ('return 75', 75)])
def test_a_thread_that_hangs_does_not_keep_the_process(end, status):
    done = run(f'import threading; threading.Thread(target=threading.Event().wait).start(); print("told"); {end}')
    assert (done.returncode, done.stdout) == (status, 'told\n')


@pytest.mark.parametrize(
    ('body', 'last'),
    [
        ("raise KeyError('rows')", "KeyError: 'rows'"),
        ("raise ValueError('no rows')", 'ValueError: no rows'),
        ("raise OSError('no file is named')", 'OSError: no file is named'),
        ("raise RuntimeError('no rows')", 'RuntimeError: no rows'),
    ],
)
def test_every_other_error_shows_where_it_happened(body, last):
    done = run(body)
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.startswith('Traceback (most recent call last):') and ', in main\n' in done.stderr
    assert done.stderr.splitlines()[-1] == last


def test_a_user_who_asks_for_it_sees_where_any_error_happened():
    done = run("raise UserError('no rows')", '--verbosity=1')
    assert done.returncode == 1 and ', in main\n' in done.stderr
    assert done.stderr.splitlines()[-1] == 'ar_seg_jax.errors.UserError: no rows'
    assert 'warning' not in run("import absl.logging; absl.logging.warning('a warning')", '--verbosity=1').stderr


@pytest.mark.parametrize(('body', 'shown'), [("raise UserError('no rows')", False), ("raise ValueError('no rows')", True)])
def test_a_process_of_several_tells_its_number_too(body, shown):
    """A process that joins itself alone."""
    place = {'JAX_COORDINATOR_ADDRESS': f'localhost:{processes.free_port()}', 'JAX_NUM_PROCESSES': '1', 'JAX_PROCESS_ID': '0'}
    done = run(body, **place)
    assert done.returncode == 1 and ('Traceback' in done.stderr and ', in main\n' in done.stderr) == shown
    assert done.stderr.splitlines()[-1] == 'error: process 0: no rows'


def test_the_home_directory_stands_for_its_sign_in_every_path(tmp_path):
    body = """
        from absl import flags
        from ar_seg_jax import cli
        flags.DEFINE_string('output', None, '')
        flags.DEFINE_string('names', None, '')
        flags.DEFINE_multi_string('workdir', None, '')
        cli.run(lambda: print(flags.FLAGS.output, flags.FLAGS.workdir, flags.FLAGS.names))
    """
    line = ['-c', textwrap.dedent(body), '--output=~/maps', '--workdir=~/a', '--workdir=b']
    done = subprocess.run([sys.executable, *line], env=commands.environment(HOME=str(tmp_path), PYTHONPATH=str(commands.ROOT)),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.stdout.strip() == f"{tmp_path}/maps ['{tmp_path}/a', 'b'] None", done.stderr
