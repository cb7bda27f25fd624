"""The house's rules: which module may import which, which word stands where, and how fast the front door opens."""

import ast
import pathlib
import subprocess
import sys
import time
import tokenize

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

# A room may import rooms of earlier lines only.
LAYERS = (
    {"errors"},
    {
        "landmarks",
        "verification",
        "losses",
        "parallel",
        "metrics_log",
        "options",
        "provenance",
        "torch_files",
        "workdir",
    },
    {"data", "models", "checkpoint", "reports"},
    {"embed", "import_weights"},
    {"back_end", "training_people"},
    {"validation"},
    {"controls", "evaluation_rows", "evaluation_summary"},
    {"train", "evaluate", "compare_table"},
    {"robustness", "compare"},
    {"generation"},
    {"app"},
    {"main"},
)
# These stand on less than their line would allow.
STANDS_ON = {
    "landmarks": {"errors"},
    "verification": {"errors"},
    "reports": {"errors", "verification"},
    "data": {"errors", "landmarks"},
    "models": {"errors", "landmarks"},
    "losses": {"errors"},
    "parallel": {"errors"},
    "checkpoint": {"errors", "parallel"},
    "provenance": set(),
    "generation": {"errors", "landmarks", "reports", "torch_files"},
}
FETCHES = {
    "fingerprint.landmarks.model_file": {"urllib"},
    "fingerprint.generation.networks.package_index": {"http", "urllib"},
}
ACCELERATED = {
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "jraph",
    "orbax",
    "tensorflow",
    "tensorflow_datasets",
    "grain",
    "torch",
}


class Module:
    """A source file and all it imports, also inside functions."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        self.package, _, inner = self.name.partition(".")
        self.room = inner.split(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.imports, self.dynamic = set(), []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.imports |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                self.imports |= {f"{base}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in ("__import__", "import_module", "eval", "exec"):
                    self.dynamic.append(called)

    def third_party(self) -> set[str]:
        return {name.split(".")[0] for name in self.imports}

    def rooms(self) -> set[str]:
        return {name.split(".")[1] for name in self.imports if name.startswith("fingerprint.")} - {"__version__"}

    def words(self) -> set[str]:
        with tokenize.open(self.path) as file:
            return {token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME}


def modules_of(package: str) -> list[Module]:
    return [Module(path) for path in sorted((REPOSITORY / package).rglob("*.py"))]


HOUSE, BUILDERS = modules_of("fingerprint"), modules_of("data_builders")
ROOMS = [module for module in HOUSE if module.room]


def by_name(modules):
    return pytest.mark.parametrize("module", modules, ids=lambda module: module.name)


def test_the_walk_sees_the_house():
    assert len(HOUSE) > 40 and len(BUILDERS) > 8
    assert {"fingerprint.landmarks.topology", "fingerprint.parallel", "fingerprint.models.gcn_tap"} <= {
        m.name for m in HOUSE
    }


@by_name(HOUSE + BUILDERS)
def test_imports_are_plain(module):
    """No relative and no dynamic imports: those the walk could not follow."""
    assert not [name for name in module.imports if name.startswith(".")]
    allowed = ["import_module"] if module.package == "data_builders" else []
    assert [call for call in module.dynamic if call not in allowed] == []


@by_name(ROOMS)
def test_arrows_point_one_way(module):
    (line,) = [number for number, rooms in enumerate(LAYERS) if module.room in rooms]
    below = set().union(*LAYERS[:line])
    assert module.rooms() - {module.room} <= below
    if module.room in STANDS_ON:
        assert module.rooms() - {module.room} <= STANDS_ON[module.room]


@by_name([module for module in HOUSE if module.room == "models"])
def test_models_know_of_landmarks_only_the_topology(module):
    """And where in a window the channels stand: tables both."""
    tables = ("fingerprint.landmarks.topology", "fingerprint.landmarks.channels")
    assert all(name.startswith(tables) for name in module.imports if name.startswith("fingerprint.landmarks"))


@by_name([module for module in HOUSE if module.room in ("landmarks", "verification", "reports", "errors")])
def test_rooms_of_plain_numpy(module):
    assert not module.third_party() & ACCELERATED
    assert "cv2" not in module.third_party()


@by_name(HOUSE + BUILDERS)
def test_each_tool_has_one_place(module):
    tools = module.third_party()
    assert ("pmap" in module.words()) == (module.name == "fingerprint.parallel")
    assert "orbax" not in tools or module.name == "fingerprint.checkpoint"
    assert "mediapipe" not in tools or module.name == "fingerprint.landmarks.extract"
    assert not tools & {"tensorflow_datasets", "grain", "array_record"} or module in BUILDERS or module.room == "data"
    assert not tools & {"matplotlib", "seaborn"} or module.room in ("reports", "generation")
    assert not tools & {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "torch"}
    assert "av" not in tools or module.name == "fingerprint.landmarks.video"
    assert tools & {"requests", "urllib", "http", "ftplib", "socket"} == FETCHES.get(module.name, set())


@by_name(HOUSE)
def test_builders_are_imported_by_nobody_in_the_house(module):
    assert "data_builders" not in module.third_party() and "tests" not in module.third_party()


def test_no_array_is_unpickled():
    for module in HOUSE + BUILDERS:
        text = module.path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text, module.name
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("np.load", "numpy.load"):
                assert "allow_pickle=False" in ast.unparse(call), module.name


def best_of_three(command: list[str]) -> tuple[float, subprocess.CompletedProcess]:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
        seconds.append(time.perf_counter() - began)
    return min(seconds), done


def test_the_package_imports_fast_and_loads_nothing_heavy():
    heavy = ("jax", "tensorflow", "mediapipe", "matplotlib")
    script = f"import sys, fingerprint; print([name for name in {heavy} if name in sys.modules])"
    seconds, done = best_of_three([sys.executable, "-c", script])
    assert done.stdout.strip() == "[]" and done.returncode == 0, done.stderr
    assert seconds < 0.3


def test_help_is_quick():
    seconds, done = best_of_three([sys.executable, "-m", "fingerprint.main", "--help"])
    assert "--workdir" in done.stdout and "Traceback" not in done.stderr
    assert seconds < 3
