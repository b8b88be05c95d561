"""The command line as a person meets it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import datastill.planner
from datastill import DistilledSet
from datastill.bundled import FOLDER
from datastill.cli import main
from datastill.commands import COMMANDS

from .planning import costing
from .toys import PLAIN_ENGINE

QUICK = ["--loop.iterations", "4", "--loop.validate-every", "2", "--protocol.networks", "3", "--random-sets", "0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "digits"
    assert main(["distill", "digits", *QUICK, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "unlabelled"
    folder.mkdir()
    for i in range(3):
        Image.new("L", (8, 8), 40 * i).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    shutil.copy(FOLDER / "mnist-10.safetensors", folder)
    return folder


def test_distil_without_arguments_is_the_digits_recipe_and_says_what_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["distill", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "runs/digits/report.html" in said
    assert "datastill verify runs/digits/distilled.safetensors" in said
    assert "± " in said


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of two classes, dark and bright."""
    folder = tmp_path_factory.mktemp("mine") / "my photos"
    draw = torch.Generator().manual_seed(0)
    for i in range(120):
        (folder / f"{i % 2}").mkdir(parents=True, exist_ok=True)
        pixels = (torch.rand(8, 8, generator=draw) * 100 + 100 * (i % 2)).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{i % 2}" / f"{i}.png")
    return folder


@pytest.mark.filterwarnings("ignore:.*has no test split")
def test_a_run_of_my_own_data_is_named_after_it_and_the_commands_that_it_prints_work(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["distill", "--data.name", str(photos), *QUICK]) == 0
    printed = capsys.readouterr().out
    commands = [shlex.split(line)[1:] for line in printed.splitlines() if line.startswith(("look:", "check:"))]
    assert commands == [
        ["datastill", "show", "runs/my photos/distilled.safetensors"],
        ["datastill", "verify", "runs/my photos/distilled.safetensors", "--data", str(photos)],
    ]
    assert [main(command[1:]) for command in commands] == [0, 0]


def test_json_output_is_json(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(finished / "distilled.safetensors")
    for words in (
        ["evaluate", file, "--networks", "2", "--json", "--curve"],
        ["verify", file, "--json"],
        ["list", "--json"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)
    assert main(["show", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_verify_measures_again_and_fails_on_a_false_claim(finished: Path, tmp_path: Path) -> None:
    file = finished / "distilled.safetensors"
    assert main(["verify", str(file)]) == 0
    honest = DistilledSet.load(file)
    claim = {name: value for name, value in honest.header.score.items() if name != "confusion"}
    honest.with_score(claim | {"accuracies": [1.0] * claim["n"], "mean": 1.0, "sd": 0.0}).save(
        tmp_path / "false.safetensors"
    )
    assert main(["verify", str(tmp_path / "false.safetensors")]) == 1


def test_a_folder_of_runs_is_one_kind_with_its_seeds_apart(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "mine" / "1"
    assert main(["distill", "digits", *QUICK, "--seed", "1", "--out", str(other)]) == 0
    shutil.copytree(finished, tmp_path / "mine" / "0")
    capsys.readouterr()
    file = str(finished / "distilled.safetensors")
    assert main(["evaluate", str(tmp_path / "mine"), file, "--networks", "3", "--json"]) == 0
    mine, one = json.loads(capsys.readouterr().out)
    assert (mine["sets"], mine["n"], one["sets"], one["between"]) == (2, 6, 1, None)
    assert mine["between"] > 0
    assert mine["scores"][0]["accuracies"] == one["scores"][0]["accuracies"]


def test_evaluate_on_another_network(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(finished / "distilled.safetensors")
    assert (
        main(["evaluate", file, "--network", "convnet(depth=1,width=4)", "--networks", "2", "--split", "validation"])
        == 0
    )
    assert "n = 2" in capsys.readouterr().out


def test_one_network_has_no_spread(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(finished / "distilled.safetensors"), "--networks", "1", "--curve"]) == 0
    said = capsys.readouterr().out
    assert "% of 144 validation images" in said
    assert "±" not in said


def test_show_and_export_and_report(finished: Path, tmp_path: Path) -> None:
    file = str(finished / "distilled.safetensors")
    assert main(["show", file, "--to", str(tmp_path / "grid.png")]) == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    for kind, to in (("png", "png"), ("npz", "set.npz"), ("parquet", "parquet")):
        assert main(["export", file, "--kind", kind, "--to", str(tmp_path / to)]) == 0
        assert (tmp_path / to).exists()
    assert main(["show", str(finished)]) == 0  # the folder of a run stands for its set
    assert main(["export", str(finished), "--to", str(tmp_path / "of a folder")]) == 0
    (finished / "report.html").unlink()
    assert main(["report", str(finished)]) == 0
    assert (finished / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distil"], "unknown command 'distil': did you mean 'distill'?"),
        (["distill", "digit"], "unknown recipe 'digit': did you mean 'digits'?"),
        (["distill", "--network", "lenett"], "unknown network 'lenett': did you mean 'lenet'?"),
        (["distill", "--network", "lenet"], "takes images of 28x28 or 32x32, not 8x8"),
        (["distill", "--data.name", "mnits"], "unknown data 'mnits': did you mean 'mnist'?"),
        (["distill", "--method.ipc", "0"], "ipc is 0, but must be at least 1"),
        (["distill", "--method.steps", "0"], "steps is 0, but must be at least 1"),
        (["distill", "--method.ipc", "900"], "900 images per class wanted, but class"),
        (["distill", "--loop.iterations", "-1"], "iterations is -1, but must be at least 1"),
        (["plan", "nosuch"], "unknown recipe 'nosuch'"),
        (["plan", "--method", "k-means"], "the method k-means learns nothing, so there are no iterations to plan"),
        (["plan", "--method.engine.mode", "sotred"], "unknown --method.engine.mode 'sotred': did you mean 'stored'?"),
        (["distill", "--method.engine.keep-every", "0"], "keep_every is 0, but must be at least 1"),
        (["distill", "--method.optimiser", "lion"], "unknown --method.optimiser 'lion': known: adam, adamw, momentum"),
        (["distill", "--resume", "--out", "nowhere"], "there is no run in nowhere to resume"),
        (["distill", "--resume", "--out", "{folder}/unlabelled/0.png"], "0.png is a file, not the folder of a run"),
        (["distill", "--resume", "--out", "{folder}/unlabelled"], "to resume (no config.json); give the folder of a"),
        (["distill", "--data.name", "{folder}/unlabelled"], "label"),
        (["distill", "--data.name", "{folder}/unlabelled/none"], "none"),
        (["distill", "--data.name", "nothere.npz"], "there is no file 'nothere.npz' (looked from "),
        (["distill", "--out", "{folder}/unlabelled"], "already holds a run or other files"),
        (["distill", "--network", "lenett", "--out", "{folder}/unlabelled"], "unknown network 'lenett'"),
        (["show", "{folder}/unlabelled/0.png"], "is not a whole safetensors file"),
        (["verify", "{folder}/unlabelled/0.png"], "is not a whole safetensors file"),
        (["export", "{folder}/unlabelled/0.png", "--to", "x"], "is not a whole safetensors file"),
        (["show", "nothing.safetensors"], "there is no distilled set at nothing.safetensors"),
        (["show", "{sets}"], "; name one of the files {sets}/mnist-10.safetensors"),
        (["show", "nothing"], "unknown file or set in the package 'nothing': known: "),
        (["report", "nothing"], "nothing"),
        (["report", "{folder}/unlabelled/0.png"], "0.png is a file, not the folder of a run or of results"),
        (["evaluate", "mnist-10", "--network", "lenett", "--data", "nothing"], "unknown network 'lenett'"),
        (["evaluate", "mnist-10", "--on", "mlp", "lenett", "--data", "nothing"], "unknown network 'lenett'"),
        (["distill", "--method.ipcc", "3"], "error: unknown option --method.ipcc (did you mean --method.ipc?); see"),
        (["distill", "--methd", "x"], "error: unknown option --methd (did you mean --method?); see datastill distill"),
        (
            ["distill", "--loop.iteratons=3", "--random-set", "3"],
            "unknown option --loop.iteratons (did you mean --loop.iterations?), --random-set (did you mean --random-",
        ),
        (["distill", "--data.store", "disk", "memory"], "error: 'memory' belongs to no option; leave it out"),
        (["evaluate", "x", "--networks", "3", "4", "--json", "true"], "'4', 'true' belong to no option; leave them"),
        (["distill", "--out", "x", "digits"], "'digits' belongs to no option; a recipe is the first word: datastill d"),
        (["distill", "--loop.iterations", "x"], "error: --loop.iterations takes a whole number, not 'x'; see"),
        (["verify", "x", "--tolerance", "x"], "error: --tolerance takes a number, not 'x'; see datastill verify"),
        (
            ["evaluate", "mnist-10", "--on"],
            "error: --on has no value; write --on VALUE, or leave it out; see datastill",
        ),
        (["evaluate", "mnist-10", "--on", "--networks", "2"], "error: --on has no value"),
        (["distill", "--seed"], "error: --seed has no value; write --seed VALUE; see datastill distill --help"),
        (
            ["distill", "--start", "foo"],
            "error: start is 'foo', but must be random(xavier), fixed(xavier), pretrained, pool:FILE",
        ),
        (["distill", "--tune.epochs"], "error: --tune.epochs has no value; write --tune.epochs VALUE, or leave it out"),
        (["distill", "--tune.optimisers"], "error: --tune.optimisers has no value"),
        (["import", "x.npz", "--mean", "--data", "digits", "--to", "y"], "error: --mean has no value"),
        (["distill", "--tune.epochs", "1.5"], "error: --tune.epochs takes a whole number, not '1.5'; see"),
        (["distill", "--tune.step-sizes", "0.1", "x"], "error: --tune.step-sizes takes a number, not 'x'; see"),
        (
            ["distill", "--tune.optimisers", "lion"],
            "unknown --tune.optimisers 'lion': known: adam, adamw, momentum, mo",
        ),
        (["distill", "--loop.betas", "0.9", "a"], "error: --loop.betas takes a number, not 'a'; see"),
        (["distill", "--loop.betas", "0.9"], "error: --loop.betas takes 2 values; write all of them; see"),
        (["pretrain"], "error: datastill pretrain needs a first word, name or folder of the real data; see"),
        (["study"], "error: datastill study needs a first word, name of the study (datastill list studies); see"),
        (["export", "set.safetensors"], "datastill export needs --to PATH, file or folder to write"),
        (["import", "x.npz"], "needs --data STR, name or folder of the real data that"),
        (["import", "x.npz"], "; --to PATH, the file to write; see"),
        (["evaluate"], "no set was given; name the file of a distilled set"),
        (
            ["evaluate", "{folder}"],
            "there is no distilled set (*.safetensors, or finished runs) in the folder",
        ),
        (["baseline", "random"], "no data was given"),
        (
            ["baseline", "random", "digits", "--nearest"],
            "--nearest; see datastill baseline random --help",
        ),
        (["baseline", "random", "digits", "--ipc", "900"], "900 images per class wanted, but class"),
        (["baseline", "herding", "digits", "--features", "lenet"], "takes images of 28x28 or 32x32, not 8x8"),
    ],
)
def test_a_wrong_input_gives_one_line_and_exit_code_2(
    words: list[str],
    message: str,
    unlabelled: Path,
    sets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"folder": unlabelled.parent, "sets": sets}
    message = message.replace("{sets}", str(sets))
    assert main([word.format(**places) for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("datastill: error: ")
    assert message in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


FAST = ["--method.networks", "1", "--method.epochs", "2", "--method.real-batch", "32"]


def test_a_plan_says_what_an_iteration_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "digits", *FAST, "--loop.iterations", "7"]) == 0
    said = capsys.readouterr().out
    size = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10  # mlp of two hidden layers of 128
    for pattern in (
        rf"^parameters +{size:,}$",
        r"^operations per iteration +0\.\d+ GFLOP$",
        r"^memory, stored +\d+ MiB of ",
        r"^memory, recomputed +\d+ MiB of ",
        r"^  \d\.\d{3} s per iteration, .* eager steps, stored, all networks together, float32$",
        r"^best +eager steps, stored, .* GFLOP/s$",
        r"^time +\d+ s for 7 iterations$",
    ):
        assert re.search(pattern, said, re.MULTILINE), (pattern, said)


def test_a_plan_as_json_is_json_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *FAST, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 26122
    assert found["operations"] > found["parameters"]
    assert found["memory"].keys() == {"stored", "recomputed"}
    assert found["timings"][0]["engine"]["execution"] == "eager"
    assert found["timings"][0]["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_gives_one_line_and_another_mode_can_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastill.planner, "costs", costing({"stored": 50 * 2**20, "recomputed": 5 * 2**20}))
    monkeypatch.setattr(datastill.planner, "free_bytes", lambda _: 10 * 2**20)
    assert main(["distill", "digits", "--method.engine.mode", "stored", *QUICK, "--out", str(tmp_path / "first")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "datastill: error: mode 'stored' needs about 50 MiB, but 10 MiB of memory are free; take mode=recomputed"
    )
    words = ["--method.engine.mode", "recomputed", *QUICK, "--loop.iterations", "1", "--loop.validate-every", "1"]
    assert main(["distill", "digits", *words, "--out", str(tmp_path / "second")]) == 0
    assert (tmp_path / "second" / "report.html").exists()


def test_where_nothing_compiles_a_run_that_must_be_compiled_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_compiler(*_: object, **__: object) -> object:
        raise RuntimeError("no C++ compiler was found\nsee the manual")

    monkeypatch.setattr(torch, "compile", without_compiler)
    words = ["--method.engine.mode", "recomputed", "--method.engine.execution", "compiled", *QUICK, *FAST]
    assert main(["distill", "digits", *words, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("datastill: error: steps cannot be compiled here (no C++ compiler was found")
    assert said[-1].endswith("take execution=eager, or auto")
    assert not any("Traceback" in line for line in said)


def test_a_set_without_a_score_gets_one_by_the_command_that_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    loaded = DistilledSet.load(finished)
    replace(loaded, header=replace(loaded.header, score=None)).save(old)
    for words in (["show", str(old)], ["verify", str(old)]):
        main(words)
        said = capsys.readouterr()
        assert "datastill pack FILE --to NEW" in " ".join((said.out + said.err).split())
    assert main(["pack", str(old), "--to", str(new)]) == 0
    assert "(before: not measured)" in capsys.readouterr().out
    assert main(["verify", str(new), "--networks", "2"]) == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [(["mnist-random"], "recipe: digits != mnist-random"), (["--loop.iterations", "600"], "4 != 600")],
)
def test_a_run_is_not_resumed_as_another_one(
    words: list[str], named: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a setting equals that of the recipe."""
    assert main(["distill", *words, "--resume", "--out", str(finished)]) == 2
    assert named in capsys.readouterr().err
    assert main(["distill", "digits", *QUICK, "--resume", "--out", str(finished)]) == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_help_teaches_by_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"datastill {command}" in capsys.readouterr().out.split("Examples:")[1]


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in COMMANDS)


def test_ctrl_c_leaves_a_run_that_resume_finishes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is interrupted by SIGINT; another one goes on from what it left."""
    monkeypatch.chdir(tmp_path)
    settings = {"loop.iterations": 100, "loop.checkpoint-every": 1000, "protocol.networks": 2, "random-sets": 0}
    small = {"method.networks": 1, "method.epochs": 1, "method.real-batch": 64}
    quick = [*PLAIN_ENGINE, *(f"--{name}={value}" for name, value in (settings | small).items())]
    command = [sys.executable, "-m", "datastill", "distill", *quick, "--out", "run"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while (not metrics.exists() or metrics.stat().st_size < 500) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert "--out run --resume" in said
    assert "Traceback" not in said
    assert main(["distill", "--resume", "--out", "run", "--seed", "7"]) == 2
    assert "has other settings (seed: 0 != 7)" in capsys.readouterr().err
    assert main(["distill", "--resume", "--out", "run"]) == 0
    iterations = [json.loads(line)["iteration"] for line in metrics.read_text().splitlines() if "objective" in line]
    assert iterations == list(range(1, 101))
