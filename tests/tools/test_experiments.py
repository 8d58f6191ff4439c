# SPDX-License-Identifier: Apache-2.0
"""The tool with trainings that take no time: scripts that write what a run does."""

import json
import os
import runpy
import signal
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mmreid_gcl.experiments import (
    TABLES,
    Experiment,
    Result,
    Table,
    gather_results,
    named_table,
    read_results,
    resolve,
    write_results,
)
from mmreid_gcl.experiments.drawing import draw_table
from mmreid_gcl.experiments.markdown import (
    rows_of,
    spread,
    to_csv,
    to_markdown,
    to_records,
)
from mmreid_gcl.experiments.results import epochs_begun, merge, read_run
from mmreid_gcl.experiments.running import (
    Pool,
    Settings,
    duration,
    plan,
    time_left,
)
from mmreid_gcl.work_dir import claim, holder

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
model = dict(type='UnsupervisedReID', head=dict(momentum=0.2), relation_neck={neck})
train_dataloader = dict(num_workers=2, dataset=dict(type='X', data_root='here'))
train_cfg = dict(max_epochs=3)
default_hooks = dict(pseudo_labels=dict(type='PseudoLabelHook', graphs=dict(
    type='OrderedGraphs', order='filename', size=16), clusterer=dict(eps=0.5)))
randomness = dict(seed=1)
behaviour = 'good'
"""
#: Stands for tools/train.py: writes scalars as a run does.
TRAIN = """
import json, os, sys, time
from pathlib import Path
config, work_dir = sys.argv[1], Path(sys.argv[2].partition('=')[2])
options = dict(o.split('=', 1) for o in sys.argv[sys.argv.index('--cfg-options') + 1:])
seed = int(options['randomness.seed'])
behaviour = options.get('behaviour', 'good')
with open(work_dir / 'calls', 'a') as calls:
    calls.write(' '.join(sys.argv[1:]) + '\\n')
(work_dir / 'env').write_text(json.dumps(dict(os.environ)))
out = work_dir / f'2026_{time.monotonic_ns()}' / 'vis_data'
out.mkdir(parents=True)
def line(**scalars):
    with open(out / 'scalars.json', 'a') as file:
        file.write(json.dumps({k.replace('__', '/'): v for k, v in scalars.items()}))
        file.write('\\n')
if behaviour == 'broken':
    print('ValueError: this is wrong')
    sys.exit(3)
for epoch in (1, 2, 3):
    line(pseudo_labels__clusters=10 * epoch, pseudo_labels__outliers=5,
         pseudo_labels__ari=0.1 * epoch, step=epoch)
    if behaviour == 'hangs':
        import subprocess
        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])
        (work_dir / 'child').write_text(str(child.pid))
        time.sleep(99)
    name = work_dir / f'epoch_{epoch}.pth'
    name.write_text('weights')
    (work_dir / 'last_checkpoint').write_text(str(name))
    if behaviour == 'good':
        line(reid__mAP=10.0 * epoch + seed, reid__R1=20.0 * epoch + seed, step=epoch)
"""
TEST = """
import json, sys
from pathlib import Path
out = Path(sys.argv[3].partition('=')[2]) / '2026'
out.mkdir(parents=True)
(out.parent / 'call').write_text(' '.join(sys.argv[1:]))
(out / '2026.json').write_text(json.dumps({'reid/mAP': 77.5, 'time': 1}))
"""


HISTOGRAM = """
import json, sys
from pathlib import Path
best = dict(distance='hellinger', mAP=25.5, R1=40.0)
out = Path(sys.argv[2].removeprefix('--out='))
out.write_text(json.dumps(dict(best=best, distances={})))
"""


@pytest.fixture
def root(tmp_path):
    """A repository of stand-ins."""
    for name, text in (
        ('tools/train.py', TRAIN),
        ('tools/test.py', TEST),
        ('tools/analysis/histogram_baseline.py', HISTOGRAM),
        ('configs/ablation/a.py', CONFIG.format(neck="dict(type='GCLNeck')")),
        ('configs/plain.py', CONFIG.format(neck=None)),
    ):
        path = tmp_path / 'root' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / 'root'


def jobs_of(root, *experiments, seeds=(1,)):
    rows = [resolve(experiment, root) for experiment in experiments]
    return plan(rows, seeds, root / 'work')


def test_equal_settings_have_equal_fingerprints(root):
    a = Experiment('a', 'configs/ablation/a.py')
    base = resolve(a, root)
    assert base.name == 'ablation.a' and base.epochs == 3
    same = [
        {'train_dataloader.num_workers': 9},
        {'train_dataloader.dataset.data_root': 'there'},
        {'randomness.seed': 5},
        {'hook.graphs.size': 16.0},
    ]
    other = [
        {'hook.graphs.size': 8},
        {'model.head.momentum': 0.1},
        {'train_cfg.max_epochs': 4},
    ]
    for options in same:
        assert resolve(a, root, options).fingerprint == base.fingerprint, options
    different = {resolve(a, root, options).fingerprint for options in other}
    assert len(different | {base.fingerprint}) == 4


def test_hook_options_find_the_hook(root):
    row = resolve(Experiment('', 'configs/plain.py', {'hook.clusterer.eps': 0.7}), root)
    assert row.options == {'default_hooks.pseudo_labels.clusterer.eps': 0.7}
    assert row.name == 'plain,eps=0.7'
    assert row.graphs == '–'  # there is no relation neck to need them
    graphs = resolve(Experiment('', 'configs/ablation/a.py'), root).graphs
    assert graphs == 'file name (leaks)'
    (root / 'configs/none.py').write_text('model = dict()\n')
    with pytest.raises(ValueError, match=r'none\.py.*PseudoLabelHook'):
        resolve(Experiment('', 'configs/none.py', {'hook.refine_begin': 1}), root)
    with pytest.raises(FileNotFoundError, match=r'gone\.py'):
        resolve(Experiment('', 'configs/gone.py'), root)


def test_runs_in_parallel_and_skips_what_is_done(root):
    rows = (
        Experiment('one', 'configs/ablation/a.py'),
        Experiment('again', 'configs/ablation/a.py', {'hook.graphs.size': 16}),
        Experiment('two', 'configs/plain.py', {'hook.clusterer.eps': 0.4}),
    )
    jobs = jobs_of(root, *rows, seeds=(1, 2))
    # 'again' is 'one'; all of the first seed come first
    assert [(j.resolved.config.stem, j.seed) for j in jobs] == [
        ('a', 1),
        ('plain', 1),
        ('a', 2),
        ('plain', 2),
    ]
    said = []
    settings = Settings(root, jobs=2, data_root='/data', device='D', gpus=('7', '8'))
    outcome = Pool(settings, said.append).run(jobs)
    assert len(outcome.done) == 4 and not outcome.failed and not outcome.interrupted
    assert sum(line.startswith('done') for line in said) == 4
    found = {(r.name, r.seed): r for r in gather_results(root / 'work')}
    result = found['plain,eps=0.4', 2]
    assert result.metrics == {'mAP': 32.0, 'R1': 62.0}
    assert result.pseudo_labels == pytest.approx(
        {'clusters': 30, 'outliers': 5, 'ari': 0.3}
    )
    assert result.curves['reid/mAP'] == [[1, 2, 3], [12.0, 22.0, 32.0]]
    assert (result.epochs, result.device, result.data_root) == (3, 'D', '/data')
    call = (jobs[3].folder / 'calls').read_text()
    assert '--resume' in call and 'data_root=/data' in call
    assert (
        'default_hooks.pseudo_labels.clusterer.eps=0.4' in call
        and 'randomness.seed=2' in call
    )
    env = [json.loads((job.folder / 'env').read_text()) for job in jobs]
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert {e['OMP_NUM_THREADS'] for e in env} == {str(threads)}
    assert {e['CUDA_VISIBLE_DEVICES'] for e in env} == {'7', '8'}
    assert [p.name for p in jobs[0].folder.glob('*.pth')] == ['epoch_3.pth']

    for other in ('/elsewhere/more', ''):
        pool = Pool(replace(settings, data_root=other), said.append)
        with pytest.raises(ValueError, match=r'--work-dir') as caught:
            pool.run(jobs)
        assert str(jobs[0].result_file) in str(caught.value)
    again = Pool(settings, said.append).run(jobs_of(root, *rows, seeds=(1, 2, 3)))
    assert {(r.name, r.seed) for r in again.done} == {
        ('ablation.a', 3),
        ('plain,eps=0.4', 3),
    }
    assert len((jobs[0].folder / 'calls').read_text().splitlines()) == 1


def test_rows_without_training_are_measured_once(root):
    rows = [
        Experiment(m, 'configs/ablation/a.py', measure=m)
        for m in ('untrained', 'histogram')
    ]
    jobs = jobs_of(root, *rows, seeds=(4, 5))
    assert [(j.resolved.measure, j.seed, j.resolved.epochs) for j in jobs] == [
        ('untrained', 0, 0),
        ('histogram', 0, 0),
    ]
    said = []
    pool = Pool(Settings(root, data_root='/data'), said.append)
    untrained, histogram = pool.run(jobs).done
    assert untrained.metrics == {'mAP': 77.5}
    assert histogram.metrics == {'mAP': 25.5, 'R1': 40.0}
    assert not untrained.pseudo_labels
    assert (untrained.epochs, histogram.epochs) == (0, 0)
    call = (jobs[0].folder / 'test/call').read_text().split()
    assert call[1] == 'untrained' and 'data_root=/data' in call
    assert read_results(jobs[1].result_file) == [histogram]
    assert not Pool(Settings(root, data_root='/data'), said.append).run(jobs).done
    # neither hangs on how a training would go on
    (other,) = jobs_of(
        root,
        Experiment(
            '',
            'configs/ablation/a.py',
            {'hook.clusterer.eps': 0.3},
            measure='untrained',
        ),
        seeds=(4,),
    )
    assert other.resolved.fingerprint == jobs[0].resolved.fingerprint
    trained = resolve(Experiment('', 'configs/ablation/a.py'), root)
    marks = {trained.fingerprint, *(job.resolved.fingerprint for job in jobs)}
    assert len(marks) == 3


def test_a_failure_does_not_take_the_rest_along(root):
    jobs = jobs_of(
        root,
        Experiment('bad', 'configs/ablation/a.py', {'behaviour': 'broken'}),
        Experiment('good', 'configs/plain.py'),
    )
    outcome = Pool(Settings(root), lambda line: None).run(jobs)
    assert [r.name for r in outcome.done] == ['plain']
    ((job, log, reason),) = outcome.failed
    assert job is jobs[0] and 'exit status 3' in reason
    assert 'ValueError: this is wrong' in reason
    assert 'ValueError: this is wrong' in log.read_text()
    assert not job.result_file.exists()


def test_a_run_killed_before_its_last_validation_is_evaluated(root):
    (job,) = jobs_of(root, Experiment('', 'configs/plain.py', {'behaviour': 'mute'}))
    settings = Settings(root, checkpoints='none')
    outcome = Pool(settings, lambda line: None).run([job])
    assert outcome.done[0].metrics == {'mAP': 77.5}
    assert outcome.done[0].pseudo_labels['clusters'] == 30
    assert not list(job.folder.glob('*.pth'))


def test_a_run_that_another_process_has_is_left_out(root):
    import fcntl

    one, two = jobs_of(root, Experiment('', 'configs/plain.py'), seeds=(1, 2))
    one.folder.mkdir(parents=True)
    with (one.folder / '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = Pool(Settings(root), lambda line: None).run([one, two])
    assert outcome.busy == [one]
    assert [r.seed for r in outcome.done] == [2]


def alive(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_children_and_theirs(root, number):
    (job,) = jobs_of(root, Experiment('', 'configs/plain.py', {'behaviour': 'hangs'}))
    note, children = job.folder / 'child', []

    def interrupt():
        deadline = time.monotonic() + 60
        while not note.exists() or not note.read_text():
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            children.append(int(note.read_text()))
        os.kill(os.getpid(), number)

    # a tool that nohup started, as these tests may be, ignores some of the signals
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    ours = signal.signal(number, default)
    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        outcome = Pool(Settings(root), lambda line: None).run([job])
        thread.join()
        after = signal.getsignal(number)
    finally:
        signal.signal(number, ours)
    assert outcome.interrupted and not outcome.done and not outcome.failed
    assert after is default
    (child,) = children
    deadline = time.monotonic() + 30
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert float((job.folder / 'seconds.txt').read_text()) > 0
    assert epochs_begun(job.folder) == 1
    assert not job.result_file.exists()


def test_trainings_that_outlive_the_tool_keep_their_runs(root):
    """After SIGKILL nobody ends them, and a second start leaves them alone."""
    (job,) = jobs_of(root, Experiment('', 'configs/plain.py', {'behaviour': 'hangs'}))
    note = job.folder / 'child'
    tool = os.fork()
    if tool == 0:
        Pool(Settings(root), lambda line: None).run([job])
        os._exit(0)
    deadline = time.monotonic() + 60
    while not note.exists() or not note.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(tool, signal.SIGKILL)
    os.waitpid(tool, 0)
    child = int(note.read_text())
    calls = (job.folder / 'calls').read_text()
    try:
        outcome = Pool(Settings(root), lambda line: None).run([job])
        assert outcome.busy == [job]
        assert (job.folder / 'calls').read_text() == calls and alive(child)
    finally:
        os.killpg(os.getpgid(child), signal.SIGKILL)


def test_a_run_that_somebody_trains_without_the_tool_is_left_out(root):
    (job,) = jobs_of(root, Experiment('', 'configs/plain.py'))
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        claim(job.folder)
        os.write(done, b'x')
        signal.pause()
    os.read(ready, 1)
    try:
        assert Pool(Settings(root), lambda line: None).run([job]).busy == [job]
        assert f'pid {pid} ' in holder(job.folder)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    outcome = Pool(Settings(root), lambda line: None).run([job])
    assert not outcome.busy and len(outcome.done) == 1


def test_nohup_stays(root):
    (job,) = jobs_of(root, Experiment('', 'configs/plain.py'))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    thread = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP))
    thread.start()
    try:
        outcome = Pool(Settings(root), lambda line: None).run([job])
        thread.join()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(outcome.done) == 1 and not outcome.interrupted


def result(fingerprint='f', seed=1, name='n', **metrics):
    return Result(name, fingerprint, seed, 3, metrics, {'ari': 0.5, 'clusters': 7})


def test_rows_of_some_names_alone(capsys):
    from tests.tools.conftest import TOOLS

    tool = runpy.run_path(str(TOOLS / 'experiments.py'))
    command = ['run', 'best', 'table3', '--seeds', '1', '--dry-run', '--rows']
    assert tool['main']([*command, 'recipe, *', 'k = 1', '--json']) == 0
    titles = [run['title'] for run in json.loads(capsys.readouterr().out)['runs']]
    names = [title.removesuffix(' seed 1') for title in titles]
    expected = ['best.best_synthetic_infomap', 'best.best_synthetic_hdbscan']
    assert names[:2] == expected and names[-1] == 'memory.synthetic_k1'
    assert len(names) == 11
    for words in (['k = 1', 'k = 9'], ['K = 1']):
        assert tool['main']([*command, *words]) == 2
    assert "no table has a row 'k = 9'" in capsys.readouterr().err


def test_runs_of_one_folder_beside_a_row(tmp_path, capsys):
    from tests.tools.conftest import TOOLS

    main = runpy.run_path(str(TOOLS / 'experiments.py'))['main']
    first, second = (
        resolve(row, ROOT).fingerprint
        for row in named_table('table3').rows
        if row.label in ('k = 1', 'k = 2')
    )
    scores = dict(here=(50.0, 53.0), there=(10.0, 90.0))
    path = tmp_path / 'r.json'
    write_results(
        path,
        [
            replace(result(mark, seed=seed, mAP=mAP + seed), data_root=f'/x/{root}')
            for root, both in scores.items()
            for mark, mAP in zip((first, second), both)
            for seed in (1, 2)
        ],
    )
    command = ['table', 'table3', '--rows', 'k = [12]', '--results', str(path)]
    more = ['--data-root', 'data/here', '--beside', 'k = 1', '--csv']
    assert main([*command, *more, str(tmp_path / 'runs.csv')]) == 0
    text = capsys.readouterr().out
    assert 'mAP beside k = 1' in text and '+3.0 ± 0.0' in text and '54.5 ± 0.7' in text
    assert '/x/here' in (tmp_path / 'runs.csv').read_text()
    assert main([*command, '--beside', 'k = 4']) == 2
    assert (
        "no row is called 'k = 4'. There are: k = 1; k = 2." in capsys.readouterr().err
    )


def test_results_survive_a_file(tmp_path):
    results = [result(seed=2, mAP=1.5), result(seed=1, mAP=2.5)]
    write_results(tmp_path / 'r.json', results)
    assert read_results(tmp_path / 'r.json') == results[::-1]
    later = result(seed=1, mAP=9.0)
    assert merge([*results, later]) == [results[0], later]
    (tmp_path / 'x.json').write_text('[1]')
    with pytest.raises(ValueError, match=r'x\.json'):
        read_results(tmp_path / 'x.json')
    assert gather_results(tmp_path / 'none') == []


def test_metrics_of_an_earlier_epoch_do_not_count(tmp_path):
    (tmp_path / '1/vis_data').mkdir(parents=True)
    lines = [
        {'pseudo_labels/clusters': 4, 'step': 1},
        {'reid/mAP': 10.0, 'reid/R1': float('nan'), 'step': 1},
        {'pseudo_labels/clusters': 5, 'step': 2},
    ]
    text = '\n'.join(map(json.dumps, lines))
    (tmp_path / '1/vis_data/scalars.json').write_text(text)
    assert read_run(tmp_path, 2)[:2] == ({}, {'clusters': 5})
    assert read_run(tmp_path, 1)[0] == {'mAP': 10.0}


def test_means_and_deviations_by_hand():
    assert spread([]) == '–'
    assert spread([3.14]) == '3.1'
    assert spread([1.0, 2.0, 4.5]) == '2.5 ± 1.8'  # sqrt((2.25 + 0.25 + 4) / 2)
    assert spread([0.25, 0.75], 3) == '0.500 ± 0.354'


def test_markdown_beside_the_paper(root):
    table = Table(
        't',
        'Title',
        [
            Experiment('done', 'configs/ablation/a.py', paper=dict(mAP=77.0)),
            Experiment('open', 'configs/plain.py', paper=dict(mAP=60, R1=70)),
        ],
        paper_on='Duke',
        note='A note.',
    )
    resolved = [resolve(row, root) for row in table.rows]
    mark = resolved[0].fingerprint
    results = [
        result(mark, 2, mAP=50.0, R1=60.0),
        result(mark, 1, mAP=52.0, R1=61.0),
        result('else', 1, mAP=99.0),
    ]
    rows = rows_of(table, resolved, results)
    lines = to_markdown(table, rows, ['More.']).splitlines()
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[2:6]]
    assert cells[0][:7] == ['', 'graphs', 'runs', 'paper mAP', 'mAP', 'paper R1', 'R1']
    assert cells[2][:8] == [
        'done', 'file name (leaks)', '2', '77.0', '51.0 ± 1.4', '–', '60.5 ± 0.7',
        '0.500 ± 0.000',
    ]  # fmt: skip
    assert cells[3][:7] == ['open', '–', '0', '60.0', 'not run', '70.0', 'not run']
    assert {len(row) for row in cells} == {len(cells[0])}
    assert 'Duke' in lines[-1] and lines[-1].endswith('A note. More.')
    records = to_records(table, rows)
    assert [(r['row'], r['seed'], r['mAP']) for r in records] == [
        ('done', 1, 52.0),
        ('done', 2, 50.0),
        ('open', None, None),
    ]
    first, *_, last = to_csv(records).splitlines()
    assert first.startswith('table,row,') and last.startswith('t,open,')


def test_durations():
    assert [duration(s) for s in (45, 600, 9000)] == ['45 s', '10 min', '2.5 h']


def test_the_time_left_falls_between_two_epochs():
    assert time_left(0, 10, 5, 5, 1) is None
    # 2 epochs in 100 s: 50 s each
    assert time_left(2, 6, 100, 0, 1) == 300
    assert time_left(2, 6, 100, 30, 1) == 270
    # later than expected: 5 epochs have not begun, whatever the sixth does
    assert time_left(2, 6, 100, 999, 1) == 250
    assert time_left(2, 1, 100, 999, 2) is None  # nobody knows


@pytest.mark.parametrize('name', list(TABLES))
def test_named_tables_resolve(name):
    for dataset in (None, 'synthetic', 'market', 'duke', 'msmt17'):
        try:
            table = named_table(name, dataset)
        except ValueError as error:
            # only data sets without configs are refused
            assert 'configs for' in str(error) and dataset in (
                'market',
                'duke',
                'msmt17',
            )
            continue
        assert table.name == name
        labels = [row.label for row in table.rows]
        assert len(set(labels)) == len(labels)
        rows = [resolve(row, ROOT) for row in table.rows]
        trained = [row for row in rows if row.measure == 'training']
        assert trained and all(row.epochs for row in trained)
        if name == 'table1' and dataset in (None, 'market', 'duke', 'msmt17'):
            assert any(row.graphs == 'file name (leaks)' for row in rows)


def test_rows_of_the_recipe_are_runs_of_their_own():
    rows = [resolve(row, ROOT) for row in named_table('best').rows]
    assert len({row.fingerprint for row in rows}) == len(rows)


def test_tables_share_runs():
    def marks(name):
        return [resolve(row, ROOT).fingerprint for row in named_table(name).rows]

    two, three = marks('table2'), marks('table3')
    assert len(set(two)) == 6 and len(set(three)) == 5
    assert two[0] == three[0] and two[2] == three[3]  # models 1, 3: average, k = 2
    graphs = marks('graphs')
    assert len(set(graphs)) == len(graphs)
    labels = [row.label for row in named_table('graphs').rows]
    assert graphs[0] == two[3]
    free = marks('label_free')
    assert len(set(free)) == len(free) == 9
    for row in named_table('label_free').rows[2:]:
        options = resolve(row, ROOT).options
        assert options['model.head.topk'] == options['model.relation_head.topk'] == 4
    assert graphs[labels.index('camera and time')] == two[5]
    assert two == marks('table2-camera_time')
    assert [a == b for a, b in zip(two, marks('table2-filename'))] == [
        True, False, True, False, False, False,
    ]  # fmt: skip
    for sweep in ('sweep-B', 'sweep-T', 'sweep-eta', 'refine_begin'):
        assert two[5] in marks(sweep), sweep
    for sweep in ('sweep-eps', 'sweep-min_samples'):
        assert two[3] in marks(sweep), sweep


def test_baselines_of_each_data_set():
    def labels(dataset):
        return [row.label for row in named_table('baselines', dataset).rows]

    assert labels('msmt17') == ['the method', 'Cluster Contrast']
    assert labels('duke') == ['model 1 of table 2', *labels('msmt17')]
    assert len(labels('synthetic')) == 6 and len(labels('market')) == 8


def test_methods_share_images_a_batch():
    from mmreid_gcl.apis import load_config

    for dataset in ('synthetic', 'market'):
        rows = [resolve(row, ROOT) for row in named_table('methods', dataset).rows]
        assert len({row.fingerprint for row in rows}) == len(rows) == 8
        sizes = set()
        for row in rows:
            if row.measure != 'training':
                continue
            cfg = load_config(str(row.config), row.options)
            sizes.add((cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs))
        assert len(sizes) == 1


def test_paper_numbers():
    duke = named_table('table2', 'duke')
    assert [row.paper['mAP'] for row in duke.rows] == [69.4, 70.6, 71.4, 72.1, 76.1, 77]
    market = named_table('table2', 'market')
    assert [row.paper['R1'] for row in market.rows] == [
        91.4, 92.1, 92.5, 92.8, 94.2, 94.8,
    ]  # fmt: skip
    k2 = named_table('table3').rows[3]
    assert k2.paper == dict(mAP=71.4, R1=84.3, R5=91.6, R10=93.4)
    with pytest.raises(ValueError, match='table9: no such table'):
        named_table('table9')
    with pytest.raises(ValueError, match='cuhk: no such data set'):
        named_table('table2', 'cuhk')


def test_command_line(root, capsys, tmp_path, monkeypatch):
    from tools import experiments

    def main(*words):
        return experiments.main(list(words)), capsys.readouterr()

    status, said = main('list')
    assert status == 0 and said.out.count('\n') == len(TABLES)
    status, said = main('list', '--dataset', 'msmt17')  # has configs for table 1 alone
    assert status == 0 and 'no' not in said.err and ' 3 rows  Table 1' in said.out
    status, said = main('list', 'sweep-eps', 'table3')
    assert status == 0 and said.out.count('\n') == 2 + 4 + 5
    assert 'synthetic_model4.py hook.clusterer.eps=0.7' in said.out
    status, said = main('table', 'table9', f'--work-dir={tmp_path}')
    assert status == 2 and 'no such table' in said.err
    status, said = main(
        'run', 'table3', '--seeds', '4', '--dry-run', f'--work-dir={tmp_path}'
    )
    assert status == 0 and said.out.count('to run') == 5
    # the stand-ins in place of the repository
    monkeypatch.setattr(experiments, 'ROOT', root)
    config = str(root / 'configs/plain.py')
    work = f'--work-dir={root / "work"}'
    status, said = main('run', config, '--seeds', '1', '2', work)
    assert status == 0 and said.out.count('\ndone') == 2
    status, said = main('run', config, '--seeds', '1', work, '--cfg-options',
                        'behaviour=broken', 'train_cfg.max_epochs=4')  # fmt: skip
    assert status == 1 and 'train.out' in said.out
    assert main('collect', work, f'--out={tmp_path}/all.json')[0] == 0
    status, said = main(
        'table', config, f'--results={tmp_path}/all.json', f'--out={tmp_path}/t.md',
        f'--csv={tmp_path}/t.csv', f'--figure={tmp_path}/t.png',
    )  # fmt: skip
    assert status == 0 and '31.5 ± 0.7' in said.out and 'Not run' not in said.out
    assert '31.5 ± 0.7' in (tmp_path / 't.md').read_text()
    assert (tmp_path / 't.png').stat().st_size > 1000
    status, said = main(
        'table', config, work, '--cfg-options', 'train_cfg.max_epochs=9'
    )
    assert 'not run' in said.out and 'other settings' in said.out
    # a reader of the table sees what was changed, and how to run what is missing
    assert 'All rows with: `train_cfg.max_epochs=9`.' in said.out
    assert f'experiments.py run {config} --cfg-options train_cfg.max_epochs=9`' in (
        said.out
    )
    status, said = main('collect', f'--work-dir={tmp_path}/empty', '--out=x.json')
    assert status == 2 and 'no finished run' in said.err
    status, said = main('table', config, f'--results={tmp_path}/nowhere.json')
    assert status == 2 and 'no such file' in said.err and 'collect' in said.err
    status, said = main('table', config, f'--work-dir={tmp_path}/empty')
    assert status == 0 and 'no finished run' in said.err
    status, said = main('table', config, work, '--figure=t.xyz')
    assert status == 2 and 'ending' in said.err and not said.out


def test_figures_of_several_tables_and_sweeps(root, capsys, tmp_path, monkeypatch):
    from tools import experiments

    plain = 'configs/ablation/a.py'
    key = 'hook.graphs.size'
    sweep = Table(
        'sweep-B',
        'Sweep',
        [Experiment(str(b), plain, {key: b}, value=b) for b in (8, 16)],
        parameter='B',
    )
    bars = Table('table2', 'Bars', [Experiment('a', plain)])
    tables = {'sweep-B': sweep, 'table2': bars}
    monkeypatch.setattr(experiments, 'ROOT', root)
    monkeypatch.setattr(experiments, 'named_table', lambda name, _: tables[name])
    results = [
        result(resolve(row, root).fingerprint, seed, mAP=40.0 + seed, R1=60.0)
        for row in sweep.rows
        for seed in (1, 2)
    ]
    write_results(tmp_path / 'r.json', results)
    drawn = {}
    real = experiments.draw

    def draw(table, rows, path, options):
        drawn[table.name] = path.name
        real(table, rows, path, options)

    monkeypatch.setattr(experiments, 'draw', draw)
    words = [f'--results={tmp_path}/r.json', f'--figure={tmp_path}/x.png']
    assert experiments.main(['table', *tables, *words]) == 0
    assert drawn == {'sweep-B': 'x-sweep-B.png', 'table2': 'x-table2.png'}
    assert all((tmp_path / name).stat().st_size > 1000 for name in drawn.values())
    # the table is printed even where there is nothing to draw
    words += ['--cfg-options', 'model.head.momentum=0.9']
    assert experiments.main(['table', 'table2', *words]) == 2
    said = capsys.readouterr()
    assert '### Bars' in said.out and 'nothing to draw' in said.err


def test_figures_say_what_they_show(root):
    plain = 'configs/ablation/a.py'
    rows = [Experiment(f'b{b}', plain, {'hook.graphs.size': b}) for b in (8, 16, 32)]
    table = Table('t', 'T', rows)
    resolved = [resolve(row, root) for row in rows]
    results = [
        result(resolved[0].fingerprint, 1, mAP=10.0, R1=20.0),
        result(resolved[0].fingerprint, 2, mAP=10.0, R1=20.0),
        result(resolved[1].fingerprint, 1, mAP=11.0, R1=21.0),
    ]
    figure = draw_table(table, rows_of(table, resolved, results), note='With x=1.')
    said = ' '.join(text.get_text() for text in figure.texts)
    assert 'of 1 to 2 seeds' in said and 'Not run: 1 of 3 rows.' in said
    assert 'x=1.' in said
