"""Honest candidates: each row says what it computes and whether it came out right. Modules are imported after the walls are up."""

from __future__ import annotations

# name of what is imported -> expressions that are true
STANDARD = {
    "abc, collections": ["collections.Counter('abca')['a'] == 2", "collections.deque([1, 2], 1) == collections.deque([2])"],
    "array": ["array.array('d', [1.0, 2.0]).tobytes().hex().startswith('0000')"],
    "ast": ["ast.literal_eval('[1, 2]') == [1, 2]", "ast.unparse(ast.parse('x = 1')) == 'x = 1'"],
    "base64, binascii": ["base64.b64decode(base64.b64encode(b'abc')) == b'abc'"],
    "bisect, heapq": ["bisect.bisect([1, 3], 2) == 1", "heapq.nsmallest(2, [3, 1, 2]) == [1, 2]"],
    "bz2, gzip, lzma, zlib": ["all(m.decompress(m.compress(b'x' * 999)) == b'x' * 999 for m in (bz2, gzip, lzma, zlib))"],
    "calendar, datetime": ["calendar.isleap(2024)", "datetime.datetime.now(datetime.timezone.utc).year > 2000"],
    "cmath, math, fractions": ["cmath.phase(-1) == math.pi", "fractions.Fraction(1, 3) * 3 == 1"],
    "colorsys": ["colorsys.rgb_to_hsv(1, 0, 0) == (0, 1, 1)"],
    "concurrent.futures": ["list(concurrent.futures.ThreadPoolExecutor(4).map(abs, range(-9, 0))) == list(range(9, 0, -1))"],
    "configparser": ["configparser.ConfigParser().read('none') == []"],
    "contextlib, io": ["contextlib.redirect_stdout(io.StringIO()) is not None"],
    "copy, pickle": ["pickle.loads(pickle.dumps({'a': 1})) == copy.deepcopy({'a': 1})"],
    "csv, io": ["list(csv.reader(io.StringIO('a,b'))) == [['a', 'b']]"],
    "ctypes": [
        "ctypes.CDLL(None).abs(-3) == 3",
        "ctypes.CDLL('libm.so.6').floor is not None",
        "ctypes.create_string_buffer(8).raw == bytes(8)",
    ],
    "dataclasses, enum, typing": ["dataclasses.make_dataclass('P', ['x'])(1).x == 1", "enum.Enum('E', 'a b').a.value == 1"],
    "decimal": ["decimal.Decimal('0.1') * 3 == decimal.Decimal('0.3')", "decimal.getcontext().prec == 28"],
    "difflib": ["difflib.get_close_matches('appel', ['apple']) == ['apple']"],
    "email.message, html, urllib.parse": ["html.escape('<') == '&lt;'", "urllib.parse.urlparse('http://a/b').path == '/b'"],
    "functools, itertools, operator": [
        "functools.reduce(operator.mul, range(1, 6)) == 120",
        "len(list(itertools.permutations(range(4)))) == 24",
    ],
    "getpass": ["getpass.getuser() == 'agentopt'"],
    "graphlib": ["list(graphlib.TopologicalSorter({1: {2}}).static_order()) == [2, 1]"],
    "hashlib, hmac, secrets": ["hashlib.sha256(b'a').hexdigest()[:4] == 'ca97'", "len(secrets.token_bytes(9)) == 9"],
    "inspect, types": ["inspect.signature(lambda a: a).parameters['a'].name == 'a'"],
    "ipaddress, uuid": ["ipaddress.ip_address('127.0.0.1').is_loopback", "uuid.uuid4().version == 4"],
    "linecache, traceback": ["'Error' in ''.join(traceback.format_exception_only(ValueError('x')))"],
    "locale": ["locale.setlocale(locale.LC_ALL, 'C.UTF-8') == 'C.UTF-8'", "locale.getpreferredencoding() == 'utf-8'"],
    "logging": ["logging.getLogger('a').warning('heard') is None"],
    "mimetypes": ["mimetypes.guess_type('a.png')[0] == 'image/png'"],
    "mmap": ["mmap.mmap(-1, 4096)[:1] == bytes(1)"],
    "multiprocessing.dummy": ["sum(multiprocessing.dummy.Pool(4).map(abs, range(-9, 1))) == 45"],
    "multiprocessing.pool": ["multiprocessing.pool.ThreadPool(2).apply(abs, (-1,)) == 1"],
    "numbers, statistics": ["statistics.median([1, 3, 2]) == 2", "round(statistics.NormalDist().cdf(0), 1) == 0.5"],
    "os": [
        "os.cpu_count() >= 1",
        "len(os.urandom(4)) == 4",
        "os.path.exists(os.getcwd())",
        "os.get_terminal_size is not None",
        "os.getloadavg is not None",
    ],
    "platform, sys": ["platform.python_version() == sys.version.split()[0]", "platform.machine() != ''", "sys.getrecursionlimit() > 0"],
    "pprint, textwrap, string": ["pprint.pformat([1]) == '[1]'", "textwrap.dedent(' a') == 'a'"],
    "queue, threading": ["queue.Queue(2).maxsize == 2", "threading.active_count() >= 1"],
    "random": ["0 <= random.random() < 1", "sorted(random.sample(range(9), 9)) == list(range(9))", "random.SystemRandom().random() < 1"],
    "re": ["re.sub(r'[0-9]', '', 'a1') == 'a'"],
    "resource": ["resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0", "resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0"],
    "select, selectors": ["selectors.DefaultSelector().close() is None", "select.select([], [], [], 0) == ([], [], [])"],
    "shlex, shutil": ["shlex.split('a b') == ['a', 'b']", "shutil.disk_usage('.').total > 0", "shutil.which('no such program') is None"],
    "signal": ["signal.signal(signal.SIGUSR1, lambda *a: None) is not None", "signal.getsignal(signal.SIGINT) is not None"],
    "socket": ["[p.send(b'x') for p in socket.socketpair()] == [1, 1]"],
    "ssl": ["ssl.create_default_context() is not None"],
    "struct": ["struct.unpack('<I', struct.pack('<I', 7)) == (7,)"],
    "sysconfig": ["sysconfig.get_paths()['stdlib'] != ''"],
    "tempfile": [
        "tempfile.TemporaryFile().write(b'x') == 1",
        "len(tempfile.mkdtemp()) > 0",
        "tempfile.NamedTemporaryFile('w').write('x') == 1",
    ],
    "time": ["time.sleep(0.001) is None", "time.perf_counter() > 0", "time.localtime().tm_year > 2000", "time.process_time() > 0"],
    "timeit": ["timeit.timeit('1 + 1', number=10) > 0"],
    "tomllib": ["tomllib.loads('a = 1') == {'a': 1}"],
    "unicodedata": ["unicodedata.name('a') == 'LATIN SMALL LETTER A'"],
    "warnings, weakref": ["warnings.warn('heard', stacklevel=1) is None"],
    "xml.etree.ElementTree": ["xml.etree.ElementTree.fromstring('<a b=\"1\"/>').get('b') == '1'"],
    "zipfile, io": ["zipfile.ZipFile(io.BytesIO(), 'w').writestr('a', 'b') is None"],
    "zoneinfo": ["str(zoneinfo.ZoneInfo('Europe/Berlin')) == 'Europe/Berlin'"],
}
NUMERIC = {
    "numpy": [
        "numpy.linalg.norm(numpy.linalg.solve(numpy.eye(3) * 2, numpy.ones(3)) - 0.5) < 1e-12",
        "numpy.allclose(numpy.fft.ifft(numpy.fft.fft(numpy.arange(8.0))), numpy.arange(8.0))",
        "numpy.random.default_rng(1).normal(size=1000).std() > 0.9",
        "(numpy.arange(10_000).reshape(100, 100) @ numpy.ones((100, 100))).shape == (100, 100)",
        "numpy.allclose(numpy.linalg.svd(numpy.eye(4))[1], 1)",
        "numpy.save('a.npy', numpy.arange(9)) is None and numpy.load('a.npy').sum() == 36",
        "numpy.savez('a.npz', x=numpy.ones(3)) is None and numpy.load('a.npz')['x'].sum() == 3",
        "numpy.memmap('map', float, 'w+', shape=9).sum() == 0",
        "numpy.sort(numpy.random.rand(10**6))[0] >= 0",
        "numpy.einsum('ij,jk->ik', numpy.eye(3), numpy.eye(3)).trace() == 3",
        "numpy.polynomial.Polynomial([1, 2])(2) == 5",
        "numpy.datetime64('2024-01-01') < numpy.datetime64('2025-01-01')",
        "numpy.savetxt('a.txt', numpy.eye(2)) is None and numpy.loadtxt('a.txt').trace() == 2",
        "numpy.ma.masked_array([1, 2], [0, 1]).sum() == 1",
        "numpy.unique([3, 1, 3]).tolist() == [1, 3]",
        "numpy.interp(0.5, [0, 1], [0, 2]) == 1",
    ],
    "numpy.testing": ["numpy.testing.assert_allclose(1, 1 + 1e-9) is None"],
    "scipy.optimize": [
        "scipy.optimize.minimize(lambda v: (v[0] - 3) ** 2, [0.0]).x[0] > 2.99",
        "scipy.optimize.linprog([1], bounds=[(2, 5)]).x[0] == 2",
        "scipy.optimize.linear_sum_assignment([[1, 2], [2, 1]])[1].tolist() == [0, 1]",
        "scipy.optimize.brentq(lambda v: v - 1, 0, 9) == 1",
        "scipy.optimize.differential_evolution(lambda v: v[0] ** 2, [(-1, 1)], rng=1).fun < 1e-6",
        "scipy.optimize.milp([1], bounds=scipy.optimize.Bounds(1.5, 4), integrality=[1]).x[0] == 2",
        "scipy.optimize.dual_annealing(lambda v: v[0] ** 2, [(-1, 1)], maxiter=20).fun < 1e-3",
        "scipy.optimize.curve_fit(lambda t, a: a * t, [1, 2], [2, 4])[0][0] > 1.99",
    ],
    "scipy.linalg": [
        "scipy.linalg.expm([[0.0]]).item() == 1",
        "scipy.linalg.eigh([[2.0]])[0][0] == 2",
        "scipy.linalg.lu([[2.0]])[2][0, 0] == 2",
    ],
    "scipy.sparse, scipy.sparse.linalg, scipy.sparse.csgraph": [
        "scipy.sparse.eye(5).sum() == 5",
        "scipy.sparse.linalg.spsolve(scipy.sparse.eye(3, format='csc') * 2, [2, 2, 2]).sum() == 3",
        "scipy.sparse.csgraph.minimum_spanning_tree([[0, 1], [0, 0]]).sum() == 1",
        "scipy.sparse.linalg.eigsh(scipy.sparse.diags(range(1, 30)).tocsc(), 1)[0][0] > 28.9",
    ],
    "scipy.spatial": [
        "scipy.spatial.KDTree([[0, 0], [1, 1]]).query([0, 0.1])[1] == 0",
        "scipy.spatial.ConvexHull([[0, 0], [1, 0], [0, 1]]).volume == 0.5",
        "len(scipy.spatial.Delaunay([[0, 0], [1, 0], [0, 1]]).simplices) == 1",
        "scipy.spatial.distance.cdist([[0, 0]], [[3, 4]])[0, 0] == 5",
    ],
    "scipy.stats": [
        "scipy.stats.norm.cdf(0) == 0.5",
        "scipy.stats.ttest_ind([1, 2, 3], [1, 2, 3]).pvalue == 1",
        "scipy.stats.qmc.Sobol(2).random(4).shape == (4, 2)",
    ],
    "scipy.integrate": [
        "scipy.integrate.quad(lambda t: t, 0, 1)[0] == 0.5",
        "scipy.integrate.solve_ivp(lambda t, y: -y, (0, 1), [1]).success",
    ],
    "scipy.interpolate": ["abs(scipy.interpolate.CubicSpline([0, 1, 2], [0, 1, 2])(0.5) - 0.5) < 1e-9"],
    "scipy.signal, scipy.ndimage, scipy.fft": [
        "scipy.ndimage.gaussian_filter([0.0, 1, 0], 1).argmax() == 1",
        "scipy.fft.dct([1.0, 1])[1] == 0",
        "scipy.signal.find_peaks([0, 1, 0])[0].tolist() == [1]",
    ],
    "scipy.special, scipy.cluster.hierarchy": [
        "scipy.special.gamma(5) == 24",
        "len(scipy.cluster.hierarchy.linkage([[0], [1], [5]])) == 2",
    ],
    "networkx": [
        "networkx.shortest_path_length(networkx.path_graph(5), 0, 4) == 4",
        "networkx.maximum_flow_value(networkx.path_graph(3, networkx.DiGraph()), 0, 0) if False else True",
    ],
    "pandas": [
        "pandas.DataFrame({'a': [1, 2]}).a.sum() == 3",
        "pandas.DataFrame({'a': [1]}).to_csv('a.csv') is None and len(pandas.read_csv('a.csv')) == 1",
        "pandas.date_range('2024', periods=3).size == 3",
    ],
}
LEARNING = {
    "sklearn.linear_model": [
        "round(sklearn.linear_model.LinearRegression().fit([[0], [1]], [0, 1]).coef_[0], 9) == 1",
        "sklearn.linear_model.LogisticRegression().fit([[0], [1]], [0, 1]).predict([[2]])[0] == 1",
        "sklearn.linear_model.Lasso().fit([[0], [1]], [0, 1]).coef_.size == 1",
    ],
    "sklearn.ensemble": [
        "sklearn.ensemble.RandomForestClassifier(5, n_jobs=2).fit([[0], [1]], [0, 1]).predict([[1]]).size == 1",
        "sklearn.ensemble.HistGradientBoostingRegressor(max_iter=3).fit([[k] for k in range(50)], range(50)).n_iter_ == 3",
        "sklearn.ensemble.IsolationForest(n_estimators=5).fit([[0], [1]]).n_features_in_ == 1",
    ],
    "sklearn.cluster": [
        "sklearn.cluster.KMeans(2, n_init=1).fit([[0.0], [0.1], [9.0]]).n_clusters == 2",
        "sklearn.cluster.DBSCAN().fit([[0.0], [0.1]]).labels_[0] == -1",
        "sklearn.cluster.AgglomerativeClustering(2).fit([[0.0], [1.0]]).n_clusters_ == 2",
    ],
    "sklearn.svm, sklearn.neighbors": [
        "sklearn.svm.SVC().fit([[0], [1]], [0, 1]).predict([[1]])[0] == 1",
        "sklearn.neighbors.KNeighborsClassifier(1).fit([[0], [1]], [0, 1]).predict([[1]])[0] == 1",
    ],
    "sklearn.decomposition, sklearn.preprocessing": [
        "sklearn.decomposition.PCA(1).fit([[0, 1], [1, 2]]).n_components_ == 1",
        "sklearn.preprocessing.StandardScaler().fit_transform([[0.0], [2.0]])[1, 0] == 1",
    ],
    "sklearn.model_selection, sklearn.linear_model": [
        "len(sklearn.model_selection.cross_val_score(sklearn.linear_model.Ridge(), [[k] for k in range(10)], range(10), cv=2)) == 2",
        "sklearn.model_selection.GridSearchCV(sklearn.linear_model.Ridge(), {'alpha': [1, 2]}, cv=2, n_jobs=1)"
        ".fit([[k] for k in range(10)], range(10)).n_splits_ == 2",
    ],
    "sklearn.gaussian_process, sklearn.tree, sklearn.metrics": [
        "sklearn.gaussian_process.GaussianProcessRegressor().fit([[0], [1]], [0, 1]).predict([[1]])[0] > 0.99",
        "sklearn.tree.DecisionTreeClassifier().fit([[0], [1]], [0, 1]).get_depth() == 1",
        "sklearn.metrics.accuracy_score([1], [1]) == 1",
    ],
    "joblib": [
        "sum(joblib.Parallel(n_jobs=2, prefer='threads')(joblib.delayed(abs)(k) for k in (-1, -2))) == 3",
        "joblib.dump([1], 'a.joblib') and joblib.load('a.joblib') == [1]",
    ],
}
TORCH = {
    "torch": [
        "torch.ones(3).sum().item() == 3",
        "(torch.eye(64) @ torch.eye(64)).trace().item() == 64",
        "torch.linalg.solve(torch.eye(3) * 2, torch.ones(3)).sum().item() == 1.5",
        "torch.fft.fft(torch.ones(4))[0].real.item() == 4",
        "(torch.manual_seed(1), torch.rand(3).numel())[1] == 3",
        "torch.save(torch.ones(2), 'a.pt') is None and torch.load('a.pt').sum() == 2",
        "torch.nn.Conv2d(1, 2, 3)(torch.ones(1, 1, 9, 9)).shape == (1, 2, 7, 7)",
        "torch.nn.LSTM(2, 3)(torch.ones(4, 1, 2))[0].shape == (4, 1, 3)",
        "torch.nn.functional.softmax(torch.ones(4), 0).sum().item() == 1",
        "torch.get_num_threads() >= 1",
        "(torch.set_num_threads(2), torch.ones(512, 512) @ torch.ones(512, 512))[1][0, 0].item() == 512",
        "torch.from_numpy(__import__('numpy').arange(3)).sum().item() == 3",
        "torch.sparse_coo_tensor([[0], [0]], [1.0], (2, 2)).to_dense().sum().item() == 1",
        "torch.distributions.Normal(0.0, 1.0).sample((3,)).shape == (3,)",
        "torch.autograd.functional.jacobian(lambda v: v * 2, torch.ones(2)).trace().item() == 4",
        "torch.jit.script(torch.nn.ReLU())(torch.ones(1)).item() == 1",
        "torch.quantile(torch.arange(5.0), 0.5).item() == 2",
        "torch.cuda.is_available() in (True, False)",
        "torch.utils.data.DataLoader([1, 2, 3], batch_size=2, num_workers=0).__len__() == 2",
        "torch.func.vmap(torch.sum)(torch.ones(2, 3)).tolist() == [3, 3]",
    ],
}
# longer than an expression
BODIES = {
    "training a net": """
        import torch
        torch.set_num_threads(2)
        net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
        best = torch.optim.Adam(net.parameters(), 0.05)
        x = torch.rand(256, 2); y = x.sum(1, keepdim=True)
        for _ in range(100):
            best.zero_grad(); loss = ((net(x) - y) ** 2).mean(); loss.backward(); best.step()
        return loss.item() < 0.05
    """,
    "asyncio": """
        import asyncio
        async def double(k):
            await asyncio.sleep(0.001)
            return 2 * k
        async def main():
            return sum(await asyncio.gather(*(double(k) for k in range(9))))
        return asyncio.run(main()) == 72
    """,
    "asyncio with threads": """
        import asyncio, time
        async def main():
            await asyncio.to_thread(time.sleep, 0.001)
            async with asyncio.timeout(1):
                return await asyncio.get_running_loop().run_in_executor(None, abs, -4)
        return asyncio.run(main()) == 4
    """,
    "threads with locks and events": """
        import threading
        lock, ready, total = threading.Lock(), threading.Event(), []
        def work():
            ready.wait(5)
            with lock: total.append(1)
        threads = [threading.Thread(target=work) for _ in range(16)]
        [t.start() for t in threads]; ready.set(); [t.join() for t in threads]
        return len(total) == 16
    """,
    "sqlite in a file": """
        import sqlite3
        with sqlite3.connect('a.db') as db:
            db.execute('pragma journal_mode=wal')
            db.execute('create table t (a)')
            db.executemany('insert into t values (?)', [(k,) for k in range(99)])
        return sqlite3.connect('a.db').execute('select sum(a) from t').fetchone() == (4851,)
    """,
    "sqlite in memory": """
        import sqlite3
        return sqlite3.connect(':memory:').execute('select 1 + 1').fetchone() == (2,)
    """,
    "dbm and shelve": """
        import shelve
        with shelve.open('kept') as kept: kept['a'] = [1]
        with shelve.open('kept') as kept: return kept['a'] == [1]
    """,
    "temporary folders": """
        import os, tempfile
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, 'a'), 'w').write('x')
            return os.listdir(folder) == ['a']
    """,
    "paths": """
        import pathlib
        place = pathlib.Path('a/b'); place.mkdir(parents=True)
        (place / 'c.txt').write_text('x'); (place / 'c.txt').rename(place / 'd.txt'); (place / 'd.txt').touch()
        return [p.name for p in pathlib.Path('.').rglob('*.txt')] == ['d.txt']
    """,
    "copying files": """
        import os, shutil
        open('a', 'w').write('x'); shutil.copy('a', 'b'); shutil.copy2('a', 'c'); os.makedirs('d/e'); shutil.copytree('d', 'f')
        shutil.move('a', 'd/a'); shutil.rmtree('d')
        return sorted(os.listdir('.')) == ['b', 'c', 'f']
    """,
    "archives": """
        import os, shutil, tarfile, zipfile
        os.mkdir('in'); open('in/a', 'w').write('x')
        shutil.make_archive('out', 'zip', 'in'); zipfile.ZipFile('out.zip').extractall('z')
        with tarfile.open('out.tar.gz', 'w:gz') as tar: tar.add('in')
        with tarfile.open('out.tar.gz') as tar: tar.extractall('t', filter='data')
        return open('z/a').read() + open('t/in/a').read() == 'xx'
    """,
    "silence": """
        import contextlib, os
        with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere): print('unheard')
        return True
    """,
    "print and stderr": """
        import sys
        print('heard'); print('too', file=sys.stderr); sys.stdout.flush()
        return sys.stdout.encoding.lower().startswith('utf')
    """,
    "a decorator with a cache": """
        import functools
        @functools.lru_cache(maxsize=None)
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        return fib(80) == 23416728348467685
    """,
    "deep recursion within reason": """
        import sys
        sys.setrecursionlimit(20000)
        def down(n): return 0 if n == 0 else 1 + down(n - 1)
        return down(9000) == 9000
    """,
    "an alarm that is caught": """
        import signal, time
        class Late(Exception): pass
        def ring(*given): raise Late
        signal.signal(signal.SIGALRM, ring); signal.setitimer(signal.ITIMER_REAL, 0.01)
        try: time.sleep(60)
        except Late: return True
    """,
    "errors that are caught": """
        import os
        for attempt in (lambda: 1 / 0, lambda: open('none'), lambda: os.listdir('/none'), lambda: {}['a'], lambda: int('x')):
            try: attempt()
            except (ZeroDivisionError, OSError, KeyError, ValueError): continue
            return False
        return True
    """,
    "a refusal that is caught": """
        import subprocess
        try: subprocess.run(['true'])
        except OSError: pass
        return True
    """,
    "a search with backtracking": """
        def queens(n, row=0, cols=(), left=(), right=()):
            if row == n: return 1
            return sum(queens(n, row + 1, cols + (c,), left + (row - c,), right + (row + c,)) for c in range(n)
                       if c not in cols and row - c not in left and row + c not in right)
        return queens(6) == 4
    """,
    "a class with state between calls": """
        class Memory:
            seen = []
        Memory.seen.append(x)
        return len(Memory.seen) == 1
    """,
    "300 MB for a moment": """
        block = bytearray(300 << 20)
        return len(block) == 300 << 20
    """,
    "a watchdog thread": """
        import threading
        rung = []
        timer = threading.Timer(0.01, lambda: rung.append(1)); timer.start(); timer.join()
        return rung == [1]
    """,
    "own code compiled": """
        names = {}
        exec(compile('def g(a): return a + 1', 'g.py', 'exec'), names)
        return names['g'](1) == 2 and eval('1 + 1') == 2
    """,
    "a module of its own": """
        import importlib, sys
        open('helper_of_mine.py', 'w').write('ANSWER = 4')
        sys.path.insert(0, '.'); importlib.invalidate_caches()
        import helper_of_mine
        return helper_of_mine.ANSWER == 4
    """,
    "native code by libffi": """
        import ctypes
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
        numbers = (ctypes.c_int * 3)(3, 1, 2)
        ctypes.CDLL(None).qsort(numbers, 3, 4, compare)
        return list(numbers) == [1, 2, 3]
    """,
    "a process pool given up for threads": """
        import concurrent.futures
        try:
            with concurrent.futures.ProcessPoolExecutor(2) as pool: return sum(pool.map(abs, [-1, -2])) == 3
        except OSError:
            with concurrent.futures.ThreadPoolExecutor(2) as pool: return sum(pool.map(abs, [-1, -2])) == 3
    """,
}
FEW = [
    "asyncio",
    "threads with locks and events",
    "sqlite in a file",
    "temporary folders",
    "copying files",
    "silence",
    "an alarm that is caught",
    "a module of its own",
    "errors that are caught",
]
FEW += [
    "decimal",
    "concurrent.futures",
    "ctypes",
    "hashlib, hmac, secrets",
    "mimetypes",
    "multiprocessing.dummy",
    "ssl",
    "tempfile",
    "zoneinfo",
    "getpass",
    "locale",
]
"""Of the short form, with all of numpy's and the first of each part of scipy."""


def source(code: str) -> str:
    """A candidate whose ``f(x)`` answers whether it came out right."""
    lines = [line for line in code.strip("\n").split("\n") if line.strip()]
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "def f(x):\n" + "\n".join("    " + line[indent:] for line in lines) + "\n"


def rows(table: dict[str, list[str]], most: int | None = None) -> dict[str, str]:
    """Name -> source; at most so many per row of the table."""
    found: dict[str, str] = {}
    for modules, expressions in table.items():
        for expression in expressions[:most]:
            code = f"import {modules}\nreturn bool({expression})" if modules != "torch" else f"import torch\nreturn bool({expression})"
            found[f"{modules}: {expression[:60]}"] = source(code)
    return found


def short_form() -> dict[str, str]:
    chosen = {name: STANDARD[name] for name in FEW if name in STANDARD}
    numeric = {modules: expressions[: 10 if modules == "numpy" else 1] for modules, expressions in NUMERIC.items() if modules != "pandas"}
    return rows(chosen, 1) | rows(numeric) | {name: source(BODIES[name]) for name in FEW if name in BODIES}


def long_form() -> dict[str, str]:
    """All that needs no more than what the tests need anyway."""
    bodies = {name: source(code) for name, code in BODIES.items() if "torch" not in code}
    return rows(STANDARD) | rows(NUMERIC) | bodies


def learning_form() -> dict[str, str]:
    return rows(LEARNING)


def torch_form() -> dict[str, str]:
    return rows(TORCH) | {"training a net": source(BODIES["training a net"])}
