import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndm_apps import shipped
from ndm_apps.config import Config, dump_yaml, expand_overrides, load_config, parse_seeds, with_choice
from ndm_apps.errors import InputError
from ndm_apps.plugins import base
from ndm_apps.yaml_source import read_yaml
from tests.broken.cases import CONFIGS
from tests.broken.toys import CONFIG, PLUGINS, TASK
from tests.test_yaml_source import TREES


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with a valid config and task of the toy domain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base, "plugins", lambda: PLUGINS)
    (tmp_path / "good.yaml").write_text(CONFIG)
    (tmp_path / "spring.yaml").write_text(TASK)
    (tmp_path / "folder").mkdir()
    return tmp_path


def message_of(reference, overrides=()) -> str:
    with pytest.raises(InputError) as caught:
        load_config(reference, overrides)
    message = str(caught.value)
    assert message.isprintable(), "more than one line"
    return message


@pytest.mark.parametrize("case", CONFIGS.values(), ids=list(CONFIGS))
def test_broken_configs_are_told_with_file_line_and_key(case, folder):
    (folder / "bad.yaml").write_text(case.content)
    message = message_of("bad.yaml")
    assert message.startswith(f"bad.yaml:{case.line}: ")
    for part in case.says:
        assert part in message


def test_a_valid_config(folder):
    config = load_config("good.yaml")
    assert (config.name, config.task_name) == ("physics-spring", "spring")
    assert config.plugin is PLUGINS["physics"]
    assert config.task.system.parameters == {"k": 1.0} and config.task.system.initial["q"] == (-1.5, 1.5)
    assert config.settings.ridge == 0.01 and config.settings.hidden == (8,) and config.settings.degree == "auto"
    assert (config.run.seed, config.run.device, config.run.threads) == (3, "cpu", 1)
    assert config.sweep_methods == ("ndm",) and config.sweep_seeds == (0, 1, 2, 3, 4)


def test_a_resolved_config_is_a_config_that_loads_to_an_equal_one(folder, tmp_path_factory, monkeypatch):
    (folder / "good.yaml").write_text(CONFIG + "sweep: {methods: [search, ndm], seeds: [4, 2]}\ndtype: float64\n")
    config = load_config("good.yaml", ["task.noise=0.25", "task_name=mine/spring"])
    assert (config.sweep_methods, config.sweep_seeds) == (("search", "ndm"), (4, 2))
    elsewhere = tmp_path_factory.mktemp("run")
    (elsewhere / "config.yaml").write_text(dump_yaml(config.resolved()))
    monkeypatch.chdir(elsewhere)
    again = load_config("config.yaml")
    assert again == config and hash(again) == hash(config) and again.resolved() == config.resolved()
    assert again.task == config.task and again.settings == config.settings and again.name == config.name
    assert again.task.noise == 0.25 and again.task_name == "mine/spring"
    assert load_config(elsewhere / "config.yaml", ["task.noise=0.5"]).name == "physics-spring"
    assert "sweep" not in config.resolved() and "extends" not in config.resolved()
    assert with_choice(again, seed=9) != config
    assert dump_yaml(again.resolved()) == (elsewhere / "config.yaml").read_text()


def test_a_config_goes_to_another_process(folder):
    config = load_config("good.yaml")
    assert pickle.loads(pickle.dumps(config)) == config


def test_another_method_and_seed(folder):
    config = load_config("good.yaml")
    search = with_choice(config, method="search", seed=7)
    assert (search.run.method, search.run.seed, search.settings.depth) == ("search", 7, 2)
    assert search.task == config.task and search.name == config.name
    assert with_choice(search, method="ndm", seed=3) == config
    assert with_choice(config) == config
    with pytest.raises(InputError, match="unknown method of physics 'serch'; did you mean 'search'"):
        with_choice(config, method="serch")
    with pytest.raises(InputError, match="seed=-1: seed: got -1, must be 0 or greater"):
        with_choice(config, seed=-1)
    bare = load_config("good.yaml", ["methods={}"])
    assert bare.settings.ridge == 1e-3
    with pytest.raises(InputError, match=r"method=search: .*depth: missing, must be given"):
        with_choice(bare, method="search")


def test_extends_merges_and_later_files_win(folder):
    (folder / "below").mkdir()
    (folder / "below" / "task.yaml").write_text(TASK)
    (folder / "below" / "base.yaml").write_text(
        "task: task.yaml\nmethod: ndm\nmethods: {ndm: {ridge: 5, hidden: [1]}}\n"
    )
    (folder / "fast.yaml").write_text("threads: 4\nseed: 1\nmethods: {ndm: {ridge: 7}}\n")
    (folder / "top.yaml").write_text("extends: [below/base, fast.yaml]\nseed: 2\nmethods: {ndm: {hidden: [2, 3]}}\n")
    config = load_config("top.yaml")
    assert (config.run.threads, config.run.seed) == (4, 2)
    assert config.settings.ridge == 7.0 and config.settings.hidden == (2, 3)
    assert config.task_name == "task", "a task's path starts at the file that names it"


def test_errors_point_to_the_file_that_holds_the_value(folder):
    (folder / "base.yaml").write_text(
        "task: spring.yaml\nmethod: ndm\nmethods:\n  ndm:\n    ridge: 0\n    hidden: [1]\n"
    )
    (folder / "top.yaml").write_text("extends: base.yaml\n\nmethods:\n  ndm:\n    hidden: [2]\n")
    assert message_of("top.yaml").startswith("base.yaml:5: methods.ndm.ridge: got 0, must be greater than 0")
    (folder / "top.yaml").write_text("extends: base.yaml\n\nmethods:\n  ndm:\n    ridge: -2\n")
    assert message_of("top.yaml").startswith("top.yaml:5: methods.ndm.ridge: got -2")
    assert message_of("top.yaml", ["methods.ndm.ridge=-3"]).startswith("--set methods.ndm.ridge=-3: methods.ndm.ridge")
    (folder / "spring.yaml").write_text(TASK.replace("points: 200", "points: 1"))
    assert message_of("good.yaml").startswith("spring.yaml:10: system.time.points: got 1, must be 2 or greater")
    late = message_of("good.yaml", ["task.system.time={end: 1, points: 0}"])
    assert late.startswith("--set task.system.time={end: 1, points: 0}: task.system.time.points: got 0")


def test_circles_and_long_chains_of_files(folder):
    for one, other in ("ab", "bc", "ca"):
        (folder / f"{one}.yaml").write_text(f"seed: 1\nextends: {other}\n")
    assert message_of("a.yaml").startswith(
        "c.yaml:2: extends: the files extend each other in a circle: a.yaml -> b.yaml"
    )
    assert message_of("a.yaml").endswith("c.yaml -> a.yaml")
    for n in range(30):
        (folder / f"n{n}.yaml").write_text(f"extends: n{n + 1}.yaml\n")
    assert message_of("n0.yaml").startswith("n19.yaml:1: extends: more than 20 files")
    # Each file extends the next one twice: read once, or never done.
    for n in range(18):
        (folder / f"d{n}.yaml").write_text(f"extends: [d{n + 1}.yaml, d{n + 1}.yaml]\n")
    (folder / "d18.yaml").write_text(CONFIG)
    assert load_config("d0.yaml") == load_config("good.yaml")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "--set seed: must be KEY=VALUE"),
        ("=3", "--set =3: must be KEY=VALUE"),
        ("a..b=3", "--set a..b=3: must be KEY=VALUE"),
        ("seed=x", "--set seed=x: seed: got 'x', must be a whole number"),
        ("seed=[1", "--set seed=[1: not valid YAML"),
        ("seed=.inf", "--set seed=.inf: got .inf"),
        ("seed=", "--set seed=: seed: got null"),
        ("seed.a=1", "--set seed.a=1: seed: got {'a': 1}, must be a whole number"),
        ("sede=1", "--set sede=1: unknown key 'sede'; did you mean 'seed'?"),
        ("methods.nmd.ridge=1", "--set methods.nmd.ridge=1: methods.nmd: unknown method of physics 'nmd'"),
        ("task.nosie=1", "--set task.nosie=1: task: unknown key 'nosie'; did you mean 'noise'?"),
        ("task=nowhere", "--set task=nowhere: task: no such task: 'nowhere'"),
        ("extends=base.yaml", "--set extends=base.yaml: extends can be given in a file only"),
        ("device=a\nb", r"--set device=a\nb: device: got 'a\nb'"),
        ("device=\ud800", r"--set device=\ud800: must be UTF-8 text"),
    ],
)
def test_broken_overrides(folder, override, says):
    assert message_of("good.yaml", [override]).startswith(says)


def test_overrides(folder):
    config = load_config(
        "good.yaml", ["methods.ndm.hidden=[1, 2]", "device=cuda:1", "methods.search={depth: 9}", "seed=8"]
    )
    assert config.settings.hidden == (1, 2) and config.settings.ridge == 0.01
    assert load_config("good.yaml", ["task.noise=0.5"]).task_name == "spring"
    assert (config.run.device, config.run.seed) == ("cuda:1", 8)
    assert with_choice(config, method="search").settings.depth == 9
    assert message_of("good.yaml", ["seed=1", "seed=2"]) == "--set seed=2: seed is set twice (first by --set seed=1)"


def test_a_missing_config_and_near_misses(folder):
    assert "did you mean 'good.yaml'?" in message_of("god.yaml")
    assert "did you mean 'folder/x.yaml'?" not in message_of("folder/y.yaml")
    assert message_of("folder") == "'folder' is a folder, must be a YAML file"
    assert message_of("").endswith("is a folder, must be a YAML file")
    for odd in ("a\0b.yaml", "a\nb", "x" * 5000, "\ud800.yaml"):
        assert message_of(odd).startswith("no such config: ")


def test_shipped_names_and_paths_mean_the_same_file(tmp_path, monkeypatch):
    root = tmp_path / "_configs"
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "spring.yaml").write_text(CONFIG.replace("spring.yaml", "toy/spring"))
    (tmp_path / "_tasks" / "toy").mkdir(parents=True)
    (tmp_path / "_tasks" / "toy" / "spring.yaml").write_text(TASK)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(base, "plugins", lambda: PLUGINS)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "shipped.py"))
    assert shipped.names("configs") == ["toy/spring"] == shipped.names("tasks")
    one = load_config("toy/spring")
    assert one.task_name == "toy/spring" and one.name == "physics-spring"
    assert load_config("configs/toy/spring.yaml") == one == load_config(root / "toy" / "spring.yaml")
    (tmp_path / "cwd" / "mine.yaml").write_text("extends: toy/spring\nseed: 5\n")
    assert load_config("mine.yaml") == with_choice(one, seed=5)
    assert "did you mean 'toy/spring'?" in message_of("toy/sprin")


def test_names_that_differ_in_the_wheel_and_the_checkout():
    checkout = Path(__file__).parents[1]
    assert shipped.shipped("tasks") == checkout / "tasks" and shipped.shipped("configs") == checkout / "configs"


def test_every_shipped_config_is_valid_and_survives_its_own_resolution(tmp_path):
    for name in shipped.names("configs"):
        config = load_config(name)
        assert isinstance(config, Config) and config.resolved()["methods"].keys() == {config.run.method}
        path = tmp_path / "config.yaml"
        path.write_text(dump_yaml(config.resolved()))
        assert load_config(path) == config
        for method in config.sweep_methods:
            assert with_choice(config, method=method).run.method == method


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0:3", (0, 1, 2)), ("3", (3,)), ("0,2,7", (0, 2, 7)), (" 5:6 , 1 ", (5, 1)), ("4294967295", (2**32 - 1,))],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1:", ":3", "3:3", "5:0", "0:1:2", "1,1", "0:3,2", "4294967296", "0:10001", "9" * 5000, "²"]
)
def test_broken_seeds(text):
    with pytest.raises(InputError, match=r"^--seeds: got ") as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 200


def test_overrides_with_several_values():
    assert expand_overrides([]) == [("", ())]
    expanded = expand_overrides(["a.b=1,2", "c=[1,2],{d: 3}", "e='x,y'", "f=it's,ok"])
    assert [label for label, _ in expanded][:3] == [
        "a.b=1, c=[1,2], f=it's",
        "a.b=1, c=[1,2], f=ok",
        "a.b=1, c={d: 3}, f=it's",
    ]
    assert len(expanded) == 8 and expanded[-1][1] == ("a.b=2", "c={d: 3}", "e='x,y'", "f=ok")
    for broken in (
        ["a=1,"],
        ["a=1,1"],
        ["a"],
        ["a=1", "a=2"],
        [f"{key}={','.join(map(str, range(30)))}" for key in "abc"],
    ):
        with pytest.raises(InputError, match=r"^--set"):
            expand_overrides(broken)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_value_anywhere_gives_a_config_or_one_line(folder, data):
    """A valid config, its task inline, in which one value is replaced by anything at all."""
    tree = {
        **read_yaml(folder / "good.yaml").data,
        "task": read_yaml(folder / "spring.yaml").data,
        "sweep": {"seeds": "0:2"},
    }
    inner = tree
    while True:
        key = data.draw(st.sampled_from(sorted(inner)))
        if not isinstance(inner[key], dict) or data.draw(st.booleans()):
            break
        inner = inner[key]
    inner[key] = data.draw(TREES)
    (folder / "any.yaml").write_text(dump_yaml(tree), newline="")
    try:
        load_config("any.yaml")
    except InputError as error:
        assert str(error).startswith("any.yaml:") and str(error).isprintable()


def test_checking_a_config_imports_nothing_heavy():
    code = "import sys; import ndm_apps.config, ndm_apps.tasks, ndm_apps.expression; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pydantic" in modules
    assert not {"torch", "numpy", "pandas", "scipy", "sympy", "mlflow", "matplotlib"} & set(modules)
