"""What is wrong with a machine as a user asks for it; single findings are in runs/test_health.py."""

import re
import subprocess
import sys

import jax

from tests.support import auditing, commands


def test_this_machine_is_described_and_nothing_written(tmp_path):
    audit = auditing.audited(tmp_path, '-m', 'ar_seg_jax.doctor', f'--data_dir={tmp_path / "data"}')
    lines = audit.done.stdout.splitlines()
    wrong = [line for line in lines if line.startswith('WRONG')]  # some disk may be full
    assert audit.done.returncode == bool(wrong) and not audit.done.stderr
    assert lines[-1] == (f'{len(wrong)} of these are wrong' if wrong else 'All is well')
    (versions,) = (line for line in lines if line.startswith('ok     versions '))
    for name in ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'tensorflow-datasets', 'numpy'):
        assert re.search(rf'[ ,]{name} \d+\.', versions)
    assert f'jax {jax.__version__}, ' in versions
    for beginning in ('ok     devices            1 x cpu, ', 'ok     computing          cpu:0: 1024 x 1024 matrices at '):
        assert any(line.startswith(beginning) for line in lines)
    assert f'{tmp_path / "data"}, for prepared data (--config.data.data_dir): ' in audit.done.stdout
    assert not audit.changes_outside(tmp_path / 'tmp') and not (tmp_path / 'data').exists()


def test_what_is_wrong_is_told_with_what_to_do(tmp_path):
    (tmp_path / 'file').touch()
    done = commands.run('doctor', f'--data_dir={tmp_path / "file" / "data"}')
    lines = done.stdout.splitlines()
    (place,) = (index for index, line in enumerate(lines) if f'{tmp_path / "file"} is a file' in line)
    assert done.returncode == 1 and not done.stderr and lines[place].startswith('WRONG  disk ')
    assert lines[place + 1].split(': ', 1)[1].strip() == 'Move it, or choose another directory'
    assert re.fullmatch(r'\d of these are wrong', lines[-1])


def test_packages_that_are_missing_or_do_not_fit_are_told_without_them():
    program = (
        'import sys; from importlib import metadata\n'
        'known = metadata.version\n'
        'versions = {"jax-cuda12-plugin": "0.4.1", "flax": None}\n'
        'def version(name):\n'
        '    found = versions[name] if name in versions else known(name)\n'
        '    if found is None: raise metadata.PackageNotFoundError(name)\n'
        '    return found\n'
        'metadata.version = version; sys.modules["jax"] = None; sys.argv = ["doctor"]\n'
        'import runpy; runpy.run_module("ar_seg_jax.doctor", run_name="__main__", alter_sys=True)\n'
    )
    environment = commands.environment(PYTHONPATH=str(commands.ROOT))
    done = subprocess.run([sys.executable, '-c', program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert f'what to do:        pip install "jax[cuda12]=={jax.__version__}"' in done.stdout
    assert 'what to do:        Install what is missing: pip install flax' in done.stdout
    assert 'Install the requirements anew' in done.stdout and done.stdout.endswith('3 of these are wrong\n')
